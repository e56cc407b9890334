"""What a plan declares of its result, as a comparison needs it: changes, and how far values may be off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckptkit.conversion.plan import Plan
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.operations.operation import Loss

if TYPE_CHECKING:
    from ckptkit.model.numbers import Numbers

#: Elements that are compared at a time.
_STRIPE = 1 << 20


@dataclass(frozen=True)
class Declared:
    """``changes``: (subject, aspect, after) of what means something else; ``losses``: tensor of the result -> loss."""

    changes: frozenset[tuple[str, str, str]] = frozenset()
    losses: Mapping[str, Loss] = field(default_factory=dict)

    def loss_of_weight(self, module: QuantizedModule) -> Loss | None:
        """How far the dequantized weight of a module of the result may be off; None where it is exact."""
        tensors = (module.weight, module.weight_scale)
        found = [self.losses[tensor.name] for tensor in tensors if tensor is not None and tensor.name in self.losses]
        return sum(found[1:], found[0]) if found else None


def declared_by(plan: Plan | None) -> Declared:
    """What a plan declares; nothing, without one."""
    if plan is None:
        return Declared()
    return Declared(frozenset((change.subject, change.aspect, change.after) for change in plan.changes), plan.losses)


def allows(loss: Loss, exact: float, value: float) -> bool:
    """Whether a value is as near to the exact one as was promised; NaN is near to NaN."""
    if value == exact or (math.isnan(value) and math.isnan(exact)):
        return True
    return abs(value - exact) <= loss.relative * abs(exact) + loss.absolute


@dataclass(frozen=True)
class Deviation:
    """The element of a dequantized weight that is furthest off for what was promised, at [row, column]."""

    differs: bool
    allowed: bool
    where: str = ""
    left: float = 0.0
    right: float = 0.0


def worst_deviation(
    left: Checkpoint,
    a: QuantizedModule,
    right: Checkpoint,
    b: QuantizedModule,
    loss: Loss,
    count: Callable[[int], None],
) -> Deviation | None:
    """Compare the dequantized weights [N, K] of two modules stripe by stripe; None where their shapes differ.

    ``count`` hears of the bytes of the left weight as they are compared.
    """
    import numpy as np

    if a.weight.shape != b.weight.shape or len(a.weight.shape) != 2:
        return None
    rows, columns = a.weight.shape
    height = max(1, _STRIPE // max(1, columns))
    worst, excess = Deviation(False, True), -math.inf
    scales = [_scale(left, a), _scale(right, b)]
    for start in range(0, rows, height):
        ours = _rows(left, a, scales[0], start, min(height, rows - start))
        theirs = _rows(right, b, scales[1], start, min(height, rows - start))
        count(ours.size)
        differs = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
        if not differs.any():
            continue
        with np.errstate(invalid="ignore"):
            over = np.abs(theirs - ours) - (loss.relative * np.abs(ours) + loss.absolute)
        over = np.where(differs, np.nan_to_num(over, nan=math.inf), -math.inf)
        row, column = np.unravel_index(int(np.argmax(over)), over.shape)
        if over[row, column] > excess:
            excess = float(over[row, column])
            where = f"[{start + int(row)}, {int(column)}]"
            worst = Deviation(True, excess <= 0, where, float(ours[row, column]), float(theirs[row, column]))
    return worst


def _scale(checkpoint: Checkpoint, module: QuantizedModule) -> Numbers | None:
    from ckptkit.model.numbers import numbers

    scale = module.weight_scale
    return None if scale is None else numbers(scale.dtype, checkpoint.container.read(scale))


def _rows(checkpoint: Checkpoint, module: QuantizedModule, scale: Numbers | None, start: int, count: int) -> Numbers:
    from ckptkit.model.numbers import dequantized, numbers

    weight = module.weight
    row = weight.nbytes // weight.shape[0]
    data = checkpoint.container.source.read(weight.shard, weight.start + start * row, count * row)
    codes = numbers(weight.dtype, data).reshape(count, weight.shape[1])
    return codes if scale is None else dequantized(codes, scale, module.scheme.weight.granularity, start)
