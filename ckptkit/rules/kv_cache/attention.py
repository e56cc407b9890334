"""Attention modules with the scales of their KV cache."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.engines.dialects import KV_SCALES_UNCHECKED
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.model.checkpoint import AttentionScales

VLLM = ENGINES["vllm"].version


def keeps_scales_at_one(context: Context) -> bool:
    """Whether vLLM reads the dialect's KV scales on the path that says nothing where one is missing or senseless."""
    return context.dialect is not None and context.dialect.key in KV_SCALES_UNCHECKED


def without_scales(context: Context) -> tuple[Effect, ...]:
    """What engines do without KV scales: vLLM's two paths differ."""
    silent = keeps_scales_at_one(context)
    word = "1.0 is used without a word" if silent else "1.0 is used, with one line in the log"
    outcome = Outcome.SILENT if silent else Outcome.WARNING
    return (
        Effect("vllm", VLLM, outcome, word),
        Effect("sglang", ENGINES["sglang"].version, Outcome.WARNING, "1.0 is used"),
    )


def declared_attention(context: Context) -> Iterator[tuple[bool, AttentionScales]]:
    """Attention modules, each with whether static KV scales are declared for it."""
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.kv_cache is None:
        return
    scheme = checkpoint.kv_cache.scheme
    is_static = scheme is not None and not scheme.quantization.dynamic
    for attention in checkpoint.kv_cache.attention:
        yield is_static, attention


def any_stored(context: Context) -> bool:
    """Whether any attention module has a scale for keys or values."""
    return any(attention.k or attention.v for _, attention in declared_attention(context))


def attention_modules(context: Context) -> tuple[AttentionScales, ...]:
    """The attention modules that have a KV cache, or none."""
    checkpoint = context.checkpoint
    return checkpoint.kv_cache.attention if checkpoint is not None and checkpoint.kv_cache is not None else ()


def attention_of(context: Context, finding: Finding) -> AttentionScales | None:
    """The attention module whose scale a finding is about."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    for attention in cache.attention if cache else ():
        if any(tensor.name == finding.tensor for tensor in attention.stored().values()):
            return attention
    return None
