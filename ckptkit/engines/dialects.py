"""What engines do with a dialect as a whole, by the dialect's key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Dialect -> the engines that read the config through the library that its schema describes.
CONFIG_READERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "compressed-tensors": ("vllm", "sglang", "transformers"),
        "quark": ("quark", "transformers"),
        "quark-fp8": ("quark", "vllm"),
        "fp8": ("vllm", "transformers"),
        "fp8-block": ("vllm", "transformers"),
        "modelopt": ("vllm",),
    }
)

#: Dialects whose declaration of an FP8 KV cache vLLM follows by itself (``--kv-cache-dtype auto``).
KV_CACHE_SWITCHED_ON = frozenset({"compressed-tensors", "modelopt"})

#: Dialects whose KV scales vLLM takes as they are: a missing one stays at 1.0, a senseless one is used, without a word.
KV_SCALES_UNCHECKED = frozenset({"compressed-tensors"})
