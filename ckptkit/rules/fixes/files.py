"""Fixes of index, metadata and the placement of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Drop, Edit, Move, RebuildIndex, SetKey, SetMetadata
from ckptkit.engines.dimensions import TEXT_CONFIGS
from ckptkit.model import names

_TIE = "tie_word_embeddings"


@fix("safe", "CK105")
def repoint_index(context: Context, finding: Finding) -> Iterator[Edit]:
    """Point the index at the shard that holds the tensor. A tensor that no shard holds cannot be mended."""
    if finding.tensor in context.container.tensors:
        yield RebuildIndex()


@fix("safe", "CK106", "CK109")
def rebuild_index(context: Context, finding: Finding) -> Iterator[Edit]:
    """List every stored tensor: engines load what is stored, whatever the index says."""
    yield RebuildIndex()


@fix("safe", "CK110")
def correct_total_size(context: Context, finding: Finding) -> Iterator[Edit]:
    """Count the bytes of all tensors again."""
    yield RebuildIndex(places=False)


@fix("safe", "CK111")
def add_format_metadata(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say ``format: pt``, as every exporter from torch does."""
    if finding.file is not None:
        yield SetMetadata(finding.file, "format", "pt")


@fix("unsafe", "CK107")
def drop_other_copies(context: Context, finding: Finding) -> Iterator[Edit]:
    """Keep the copy that the index names. Loaders may have used another one, so this can change the numbers."""
    index = context.container.index
    kept = index.weight_map.get(finding.tensor or "") if index else None
    holders = [header.shard for header in context.container.headers if finding.tensor in header.tensors]
    if finding.tensor is not None and kept in holders:
        yield from (Drop(shard, finding.tensor) for shard in holders if shard != kept)


@fix("unsafe", "CK112")
def move_scale_to_weight(context: Context, finding: Finding) -> Iterator[Edit]:
    """Move the scale into its weight's shard. Two shards are written again for a few bytes: not done unasked."""
    scale = context.container.tensors.get(finding.tensor or "")
    weight = context.container.tensors.get(names.join(scale.module, "weight")) if scale else None
    if scale is not None and weight is not None:
        yield Move(scale.shard, scale.name, weight.shard)


@fix("safe", "CK113")
def clear_tie_flag(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say on every level what the tensors say: a stored head is not tied.

    Where no head is stored although the flag says so, one may have been lost; that is not decided here.
    """
    stored = any(names.last_part(tensor.module) == names.LM_HEAD for tensor in context.container.tensors.values())
    levels: list[tuple[str, ...]] = [
        way
        for way in ((), *((key,) for key in TEXT_CONFIGS))
        if isinstance(level := _level(context.container.config, way), Mapping) and isinstance(level.get(_TIE), bool)
    ]
    flags = {bool((_level(context.container.config, way) or {})[_TIE]) for way in levels}
    if stored or len(flags) > 1:
        yield from (SetKey((*way, _TIE), not stored) for way in levels)


def _level(config: Mapping[str, object], way: tuple[str, ...]) -> Mapping[str, object] | None:
    level: object = config
    for part in way:
        level = level.get(part) if isinstance(level, Mapping) else None
    return level if isinstance(level, Mapping) else None
