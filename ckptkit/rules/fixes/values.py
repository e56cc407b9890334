"""Fixes of scale values: a scale takes the value of another one. No number is made up, no weight is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Edit, TakeValue
from ckptkit.storage.payload import TensorRef

_EXPERT = re.compile(r"\.experts\.\d+\.")


@fix("unsafe", "CK705")
def share_largest_input_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Set the input scales of modules that are loaded as one to the largest, as vLLM does; rounding changes a bit."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    for group in context.fused_groups:
        if group.owner == finding.tensor:
            scales = [modules[name].input_scale for name in group.members if name in modules]
            yield from _take_largest(context, [scale for scale in scales if scale is not None])


@fix("unsafe", "CK506")
def borrow_from_siblings(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give an expert that saw no token the largest scale of its siblings: nothing clips, some precision goes."""
    siblings: dict[str, list[TensorRef]] = {}
    for module in context.modules:
        if module.input_scale is not None and ".experts." in module.name:
            siblings.setdefault(_EXPERT.sub(".experts.*.", module.name), []).append(module.input_scale)
    for scales in siblings.values():
        calibrated = [scale for scale in scales if _value(context, scale) != 1.0]
        if calibrated and len(calibrated) < len(scales):
            donor = max(calibrated, key=lambda scale: _value(context, scale) or 0.0)
            yield from (TakeValue(s.shard, s.name, donor.name) for s in scales if _value(context, s) == 1.0)


@fix("unsafe", "CK909")
def share_latent_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Set the k and v scales of one latent vector to the larger."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    for attention in cache.attention if cache else ():
        if attention.k is not None and attention.v is not None and attention.k.name == finding.tensor:
            yield from _take_largest(context, [attention.k, attention.v])


def _take_largest(context: Context, scales: Iterable[TensorRef]) -> Iterator[Edit]:
    known = [scale for scale in scales if _value(context, scale) is not None]
    if not known:
        return
    donor = max(known, key=lambda scale: _value(context, scale) or 0.0)
    yield from (TakeValue(s.shard, s.name, donor.name) for s in known if _value(context, s) != _value(context, donor))


def _value(context: Context, scale: TensorRef) -> float | None:
    """The value of a scale that holds one."""
    read = context.scale_values.get(scale.name)
    return read[1].minimum if read is not None and read[1].count == 1 else None
