"""How far from float64 a correct kernel may be, by the arithmetic it ran on, and how far it was.

Three arithmetics, from rigorous to measured in a model:

* ``float32`` (the interpreter, float16 tensor cores): K additions in any order err by at most K * 2**-24 of the sum of
  magnitudes. That is a theorem.
* ``fast`` (Hopper's 14-bit accumulator) and ``promoted`` (the same, moved to float32 every 128): the worst case is
  useless, since errors cancel. The limits are twice the largest error of the tensor core's model on the random golden
  cases, for data without a common sign; a test recomputes them. Same-sign data in ``fast`` are biased by percents on
  a correct kernel, so nothing is gated there.

An element-wise limit alone lets a wrong scale of one row pass when it is off by less than the noise of an element.
The *gain* of a row or column, ``<D, ref> / <ref, ref> - 1``, averages the noise away.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ckptkit.kernels import reference
from ckptkit.kernels.build import import_torch

if TYPE_CHECKING:
    import torch

    from ckptkit.kernels.scaled_mm import Operands

Arithmetic = Literal["float32", "fast", "promoted"]

#: Twice the largest error over the sum of magnitudes, and twice the largest gain, of the model.
_ACCUMULATION = {"fast": 1.5e-3, "promoted": 8e-4}
_GAIN = {"fast": 8e-3, "promoted": 6e-4, "float32": 1e-5}
#: Half a step of each output dtype, relative.
_ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@dataclass(frozen=True)
class Tolerance:
    """``|error| <= rounding * |ref| + accumulation * sum|a||w|`` for each element; ``|gain| <= gain``."""

    rounding: float
    accumulation: float
    gain: float


@dataclass(frozen=True)
class Errors:
    """How far a result is from float64. ``used``: the largest error as a fraction of what its element may have."""

    used: float
    relative: float
    difference: float
    row_gain: float
    column_gain: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the fields as keys; what is not finite as text."""
        return {name: value if math.isfinite(value) else str(value) for name, value in asdict(self).items()}


def tolerance(arithmetic: Arithmetic, out_dtype: torch.dtype, k: int) -> Tolerance:
    """The limits for a product over K on this arithmetic, stored in this dtype."""
    # Two scales, a bias and the store round once each; only the store is coarser than float32.
    rounding = _ROUNDING[str(out_dtype).removeprefix("torch.")] + 4 * 2.0**-24
    accumulation = _ACCUMULATION.get(arithmetic, k * 2.0**-24)
    return Tolerance(rounding, accumulation, _GAIN[arithmetic] + rounding)


def errors(found: torch.Tensor, operands: Operands, limit: Tolerance) -> Errors:
    """Compare a result with the oracle on the same operands. NaN and infinity make everything infinite."""
    torch = import_torch()
    parts = (operands.a, operands.weight, operands.a_scale, operands.weight_scale, operands.scaling)
    wanted = reference.scaled_mm(*parts, bias=operands.bias)
    allowed = limit.rounding * wanted.abs() + limit.accumulation * reference.magnitude(*parts)
    if operands.bias is not None:
        allowed = allowed + limit.rounding * operands.bias.double().abs()
    value = found.double()
    if not bool(torch.isfinite(value).all()):
        return Errors(math.inf, math.inf, math.inf, math.inf, math.inf)
    error = value - wanted
    tiny = torch.finfo(torch.float64).tiny
    return Errors(
        used=float((error.abs() / allowed.clamp(min=tiny)).max()),
        relative=float(error.norm() / wanted.norm().clamp(min=tiny)),
        difference=float(1 - 2 * (value * wanted).sum() / (value.square() + wanted.square()).sum().clamp(min=tiny)),
        row_gain=_gain(error, wanted, 1),
        column_gain=_gain(error, wanted, 0),
    )


def _gain(error: torch.Tensor, wanted: torch.Tensor, axis: int) -> float:
    energy = wanted.square().sum(dim=axis)
    return float(((error * wanted).sum(dim=axis) / energy.clamp(min=1e-300))[energy > 0].abs().max())


def verdict(found: Errors, limit: Tolerance) -> str | None:
    """Why a result fails, or None."""
    if not math.isfinite(found.used):
        return "the result holds NaN or infinity"
    if found.used > 1:
        return f"an element is off by {found.used:.3g} times what rounding explains"
    for name, gain in (("row", found.row_gain), ("column", found.column_gain)):
        if gain > limit.gain:
            return f"a {name} is scaled wrong by {gain:.2%} (limit {limit.gain:.2%}): a scale is wrong"
    return None
