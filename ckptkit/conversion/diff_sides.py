"""The two sides of a comparison: what they are opened as, and how much of them is read."""

from __future__ import annotations

from ckptkit.checks.level import Level
from ckptkit.formats.reading import open_quantized_or_not
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.locate import PathLike, open_files


def open_to_compare(path: PathLike | Checkpoint) -> Checkpoint:
    """A checkpoint, or one of which nothing is quantized. Raises as :func:`ckptkit.open` does."""
    if isinstance(path, Checkpoint):
        return path
    container = open_files(path)
    container.raise_if_damaged()
    return open_quantized_or_not(container)


def diff_level(left: Checkpoint, right: Checkpoint) -> Level:
    """How much of two checkpoints is compared unless the caller says: weights only where they are at hand."""
    remote = any(side.container.source.traffic is not None for side in (left, right))
    return Level.SCALES if remote else Level.FULL
