"""Attention modules with the scales of their KV cache."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, StoredTensor
from ckptkit.model.checkpoint import AttentionScales


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
    subject = finding.subject
    if cache is None or not isinstance(subject, StoredTensor):
        return None
    for attention in cache.attention:
        if any(tensor.name == subject.name for tensor in attention.stored().values()):
            return attention
    return None
