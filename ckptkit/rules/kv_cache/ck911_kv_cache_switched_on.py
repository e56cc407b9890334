"""CK911 kv-cache-switched-on."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.registry import asked_about
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

    Why it hurts: unless told otherwise vLLM and TensorRT-LLM follow the declarations of compressed-tensors and ModelOpt
    (those of Quark and plain fp8 they do not), SGLang those of ModelOpt. Older GPUs slow down or fail, and an E5M2
    cache is refused.

    Example: ``kv_cache_scheme`` in a compressed-tensors config.

    Fix: nothing if it is meant; else remove the declaration and the scales.
    """
    checkpoint, dialect, key = context.checkpoint, context.dialect, keys_of(context).kv_cache
    if dialect is None or key is None:
        return
    followers = [engine.label for engine in asked_about().values() if dialect.key in engine.follows_kv_cache]
    declared = bool(said(context, key))
    if checkpoint is not None:
        declared = checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    if declared and followers:
        *first, last = followers
        named = f"{', '.join(first)} and {last} serve" if first else f"{last} serves"
        message = f"{named} this checkpoint with an FP8 KV cache unless told otherwise"
        yield Fault("kv-switched-on", message, context.section.file, None, None, f"{dialect.format}: {key}")
