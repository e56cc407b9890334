"""Declaring a KV cache, or none, in the words of the checkpoint's format."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.edits.changes import Edit
from ckptkit.model.checkpoint import KVCache


def correct_declaration(context: Context, finding: Finding) -> Iterator[Edit]:
    """Declare no FP8 KV cache where no scale is stored for one, and the usual one where scales are stored.

    Without a scale the cache would run at 1.0; whether it was meant to be calibrated nobody but the exporter knows.
    """
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    if cache is None or context.checkpoint is None or context.format is None:
        return
    if not any(attention.stored() for attention in cache.attention):
        yield from context.format.declare_kv_cache(context.checkpoint, None)
    elif finding.code == "CK912":
        yield from declared(context, cache)


def declared(context: Context, cache: KVCache) -> Iterator[Edit]:
    """The declaration that fits the stored scales; none while a module lacks one of its two."""
    if context.checkpoint is None or context.format is None or any(a.k is None or a.v is None for a in cache.attention):
        return
    yield from context.format.declare_kv_cache(context.checkpoint, cache)
