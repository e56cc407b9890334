"""How far from float64 a correct kernel may be, by the arithmetic it ran on, and how far it was.

Three arithmetics, from rigorous to measured in a model:

* ``float32`` (the interpreter, float16 tensor cores): K additions in any order err by at most K * 2**-24 of the sum of
  magnitudes. That is a theorem.
* ``fast`` (Hopper's 14-bit accumulator) and ``promoted`` (the same, moved to float32 every 128): the worst case is
  useless, since errors cancel. The limits are those of ``tolerances.json``, a multiple of the largest errors of the
  tensor core's model on random data; ``ckptkit golden record`` derives them. Same-sign data in ``fast`` are biased by
  percents on a correct kernel, so nothing is gated there.

An element-wise limit alone lets a wrong scale of one row pass when it is off by less than the noise of an element.
The *gain* of a row or column, ``<D, ref> / <ref, ref> - 1``, averages the noise away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ckptkit.kernels import reference
from ckptkit.kernels.build import import_torch
from ckptkit.record import record

if TYPE_CHECKING:
    import torch

    from ckptkit.kernels.scaled_mm import Operands

Arithmetic = Literal["float32", "fast", "promoted"]

#: The derived limits of the tensor core.
RECORD = Path(__file__).with_name("tolerances.json")
_FLOAT32_GAIN = 1e-5
#: Half a step of each output dtype, relative.
_ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@record
class Tolerance:
    """``|error| <= rounding * |ref| + accumulation * sum|a||w|`` for each element; ``|gain| <= gain``."""

    rounding: float
    accumulation: float
    gain: float


@record
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
    if arithmetic == "float32":
        return Tolerance(rounding, k * 2.0**-24, _FLOAT32_GAIN + rounding)
    margin, largest = derived()["margin"], derived()["largest"][arithmetic]
    return Tolerance(rounding, margin * largest["accumulation"], margin * largest["gain"] + rounding)


@lru_cache(maxsize=1)
def derived() -> Mapping[str, Any]:
    """What was derived from the model: the largest errors of each arithmetic, and how many times them a limit is."""
    found: Mapping[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def table() -> str:
    """The limits for the documentation, in Markdown, and where they come from."""
    document = derived()
    rows = [
        "| arithmetic | where | error of an element, of `sum(abs(a) * abs(w))` | gain of a row or column |",
        "|---|---|---|---|",
        f"| `float32` | interpreter, fp16 tensor cores | K * 2^-24: a theorem for any order | {_FLOAT32_GAIN:g} |",
    ]
    where = {"fast": "sums kept in the tensor core", "promoted": "moved to float32 every 128 of K"}
    margin = document["margin"]
    for name, largest in document["largest"].items():
        cells = (f"{margin * error:g} = {margin} x {error:g}" for error in largest.values())
        rows.append(f"| `{name}` | Hopper, {where[name]} | {' | '.join(cells)} |")
    *depths, deepest = map(str, document["depths"])
    said = (
        "plus half a step of the output's dtype. Hopper's limits are "
        f"{margin} times the largest errors of the model over\n{document['outputs']:,} outputs, "
        f"with K of {', '.join(depths)} and {deepest}."
    )
    return "\n".join([*rows, "", said]) + "\n"


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
