"""What a plan declares of its result, as a comparison needs it: changes, and how far values may be off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from ckptkit.conversion.diff_pairs import Stored
from ckptkit.conversion.plan import Plan
from ckptkit.measure.matrix import Matrix
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.operations.operation import Loss, OperationError
from ckptkit.operations.stream import piece_of
from ckptkit.record import record
from ckptkit.storage.payload import TensorRef

if TYPE_CHECKING:
    from ckptkit.model.numbers import Numbers

#: Elements that are compared at a time.
_STRIPE = 1 << 20


@record
class Declared:
    """``changes``: (subject, aspect, after) of what means something else; ``losses``: tensor of the result -> loss."""

    changes: frozenset[tuple[str, str, str]] = frozenset()
    losses: Mapping[str, Loss] = field(default_factory=dict)

    def loss_of(self, weight: QuantizedModule | TensorRef | None) -> Loss | None:
        """How far a weight of the result may be off, dequantized where it is in FP8; None where it is exact."""
        tensors = (weight.weight, weight.weight_scale) if isinstance(weight, QuantizedModule) else (weight,)
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


@record
class Deviation:
    """The element of a dequantized weight that is furthest off for what was promised, at [row, column]."""

    differs: bool
    allowed: bool
    where: str = ""
    left: float = 0.0
    right: float = 0.0


def worst_deviation(
    left: Checkpoint,
    a: Stored,
    right: Checkpoint,
    b: Stored,
    loss: Loss,
    count: Callable[[int], None],
) -> Deviation | None:
    """Compare two weights, dequantized where they are in FP8, stripe by stripe; None where they cannot be compared.

    ``count`` hears of the bytes of the left weight as they are compared.
    """
    import numpy as np

    if a.shape != b.shape:
        return None
    try:
        matrices = [*zip(a.matrices(stacked=True), b.matrices(stacked=True), strict=True)]
    except OperationError:
        return None
    worst, excess = Deviation(False, True), -math.inf
    for expert, (ours, theirs) in enumerate(matrices):
        rows = ours.rows
        height = rows if ours.turned or theirs.turned else max(1, _STRIPE // max(1, ours.columns))
        scales = [_scale(left, ours), _scale(right, theirs)]
        for start in range(0, rows, height):
            wanted = range(start, min(start + height, rows))
            x = _rows(left, ours, a.module, scales[0], wanted)
            y = _rows(right, theirs, b.module, scales[1], wanted)
            count(len(wanted) * ours.weight.nbytes // rows)
            differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
            if not differs.any():
                continue
            with np.errstate(invalid="ignore"):
                over = np.abs(y - x) - (loss.relative * np.abs(x) + loss.absolute)
            over = np.where(differs, np.nan_to_num(over, nan=math.inf), -math.inf)
            row, column = (int(n) for n in np.unravel_index(int(np.argmax(over)), over.shape))
            if over[row, column] > excess:
                excess = float(over[row, column])
                place = [start + row, column] if len(matrices) == 1 else [expert, start + row, column]
                worst = Deviation(True, excess <= 0, str(place), float(x[row, column]), float(y[row, column]))
    return worst


def _scale(checkpoint: Checkpoint, matrix: Matrix) -> Numbers | None:
    from ckptkit.model.numbers import numbers

    scale = matrix.scale
    return None if scale is None else numbers(scale.dtype, checkpoint.container.read(scale))


def _rows(
    checkpoint: Checkpoint, matrix: Matrix, module: QuantizedModule | None, scale: Numbers | None, rows: range
) -> Numbers:
    """Some rows of a matrix, exact: the product of an FP8 code and its scale is not rounded to float32."""
    import numpy as np

    from ckptkit.model.numbers import dequantized, numbers

    if scale is None or module is None:
        return matrix.read(checkpoint.container.source, rows)[0].astype(np.float64)
    piece = piece_of(checkpoint.container.source, matrix.weight, rows)
    values = numbers(piece.dtype, piece.data).reshape(piece.shape)
    return dequantized(values, scale, module.scheme.weight.granularity, rows.start)
