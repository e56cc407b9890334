"""The names of modules that transformers' classes need: an FP8 weight of which nothing is stored cannot be made up."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS

_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")

MODULES = MappingProxyType(
    {
        **dict.fromkeys(_CLASSES, DENSE.listing()),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS.listing(),
    }
)
