"""Derive from the model of Hopper's tensor core what the golden cases rest on: tolerances, and that exact is exact.

The tolerances in ``tolerances.json`` are written by ``ckptkit golden record``; nobody types them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.kernels import tensor_core
from ckptkit.kernels.build import import_torch
from ckptkit.kernels.configs import ACCUMULATE, Accumulate
from ckptkit.kernels.golden import inputs, tolerance
from ckptkit.kernels.golden.inputs import Case
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import TOKEN_CHANNEL

if TYPE_CHECKING:
    import torch

#: The limits are this many times what the model errs.
MARGIN = 2
#: K, and how many seeds of it: where K is short, much depends on how the outlier columns fall.
DEPTHS = {128: 16, 256: 16, 512: 16, 1040: 16, 4096: 4, 14336: 2}
_ROWS = 64
#: Rows and columns of an exact case that go through the model: those whose partial sums are largest.
_HARDEST = 48


def model(operands: Operands, accumulate: Accumulate) -> torch.Tensor:
    """What Hopper's tensor core gives before any scale: float32 [M, N]."""
    torch = import_torch()
    codes = (tensor.cpu().view(torch.uint8).numpy() for tensor in (operands.a, operands.weight))
    return torch.from_numpy(tensor_core.accumulate(*codes, promoted=accumulate == "promoted"))


def inexact(operands: Operands) -> list[Accumulate]:
    """The modes in which the model rounds a sum of the hardest rows and columns of these operands."""
    bounds = inputs.bounds(operands)
    rows = bounds.amax(dim=1).argsort(descending=True)[:_HARDEST]
    columns = bounds.amax(dim=0).argsort(descending=True)[:_HARDEST]
    part = Operands(
        operands.a[rows],
        operands.weight[columns],
        operands.a_scale,
        operands.weight_scale,
        operands.scaling,
        None,
    )
    wanted = part.a.double() @ part.weight.double().T
    return [mode for mode in ACCUMULATE if bool((model(part, mode).double() != wanted).any())]


def largest_errors(accumulate: Accumulate) -> tolerance.Errors:
    """The largest errors of the model, on bell-shaped data with outlier columns as the random golden cases hold them.

    They are what :func:`tolerance.errors` measures; ``used`` is the error of an element over its sum of magnitudes.
    """
    unlimited = tolerance.Tolerance(0.0, 1.0, math.inf)
    found = []
    for k, seed in ((k, 900 + number) for k, seeds in DEPTHS.items() for number in range(seeds)):
        operands = inputs.build(Case("derive", "random", TOKEN_CHANNEL, _ROWS, _ROWS, k, seed))
        raw = model(operands, accumulate).double()
        scaled = raw * operands.a_scale.double()[:, None] * operands.weight_scale.double()[None, :]
        found.append(tolerance.errors(scaled, operands, unlimited))
    return tolerance.Errors(*(max(each) for each in zip(*(vars(errors).values() for errors in found), strict=True)))


def document() -> Mapping[str, Any]:
    """What ``tolerances.json`` says."""
    found = {}
    for accumulate in ACCUMULATE:
        errors = largest_errors(accumulate)
        largest = {"accumulation": errors.used, "gain": max(errors.row_gain, errors.column_gain)}
        found[accumulate] = {name: rounded_up(value) for name, value in largest.items()}
    return {
        "note": "Written by `ckptkit golden record` from the model of Hopper's FP8 tensor core.",
        "margin": MARGIN,
        "outputs": sum(DEPTHS.values()) * _ROWS * _ROWS,
        "depths": list(DEPTHS),
        "largest": found,
    }


def text() -> str:
    """The text of ``tolerances.json``."""
    return json.dumps(document(), indent=1) + "\n"


def rounded_up(value: float) -> float:
    """Rounded up to two digits, so that the last bits of a machine's float64 sums do not show.

    >>> rounded_up(0.001234), rounded_up(0.0099)
    (0.0013, 0.0099)
    """
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / step, 6)) * step:.1e}")
