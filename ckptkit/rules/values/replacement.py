"""Scales that take the value of another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.checks.context import Context
from ckptkit.edits.changes import Edit, TakeValue
from ckptkit.storage.payload import TensorRef


def take_largest(context: Context, scales: Iterable[TensorRef]) -> Iterator[Edit]:
    """The edits that give scales the largest value among them."""
    known = [scale for scale in scales if value(context, scale) is not None]
    if not known:
        return
    donor = max(known, key=lambda scale: value(context, scale) or 0.0)
    yield from (TakeValue(s.shard, s.name, donor.name) for s in known if value(context, s) != value(context, donor))


def value(context: Context, scale: TensorRef) -> float | None:
    """The value of a scale that holds one."""
    read = context.scale_values.get(scale.name)
    return read[1].minimum if read is not None and read[1].size == 1 else None
