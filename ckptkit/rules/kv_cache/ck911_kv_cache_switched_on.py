"""CK911 kv-cache-switched-on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK911",
    "kv-cache-switched-on",
    Severity.INFO,
    reports=(
        "1CatAI/1Cat-vLLM#613",
        "vllm-project/vllm#37054",
        "vllm-project/vllm#45040",
    ),
)
def kv_cache_switched_on(context: Context) -> Iterator[Fault]:
    """The checkpoint turns the FP8 KV cache on by itself.

    Why it hurts: with ``--kv-cache-dtype auto`` vLLM follows the declarations of compressed-tensors and ModelOpt
    (those of Quark and plain fp8 it does not). Older GPUs slow down or fail, and an E5M2 cache is refused.

    Example: ``kv_cache_scheme`` in a compressed-tensors config.

    Fix: nothing if it is meant; else remove the declaration and the scales.
    """
    checkpoint = context.checkpoint
    declared = checkpoint is not None and checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    raw = context.method == "modelopt" and isinstance(context.block.get("kv_cache_scheme"), Mapping)
    if (declared and context.method == "compressed-tensors") or raw:
        message = "vLLM serves this checkpoint with an FP8 KV cache unless it is told otherwise"
        yield Fault("kv-switched-on", message, "config.json", None, None, f"{context.method}: kv_cache_scheme")
