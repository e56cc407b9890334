"""CK902 kv-scheme-missing, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.formats.reading import BrokenConfig
from ckptkit.rules.kv_cache.declaration import declared


@rule(
    "CK902",
    "kv-scheme-missing",
    Severity.WARNING,
    reports=(
        "sgl-project/sglang#35455",
        "sgl-project/sglang#1559",
    ),
)
def kv_scheme_missing(context: Context) -> Iterator[Fault]:
    """k and v scales are stored, but the config declares no FP8 KV cache.

    Why it hurts: engines ignore the scales, or keep the cache in high precision.

    Example: ``self_attn.k_scale`` in every layer, ``kv_cache_scheme: null``.

    Fix: declare the scheme, or drop the scales.
    """
    checkpoint = context.checkpoint
    if isinstance(context.reading, BrokenConfig):  # one may be declared, and not understood: CK912
        return
    if checkpoint is not None and checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is None:
        first = next(iter(checkpoint.kv_cache.attention), None)
        stored = next(iter(first.stored().values()), None) if first else None
        yield Fault(
            "kv-scheme-missing",
            "k and v scales are stored, but the config declares no FP8 KV cache",
            context.section.file,
            stored.name if stored else None,
            expected="a KV-cache scheme",
            found="none",
        )


@fix("safe", "CK902")
def declare_scheme(context: Context, finding: Finding) -> Iterator[Edit]:
    """Declare the KV cache that the stored scales were made for."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    if cache is not None:
        yield from declared(context, cache)
