"""CK505 weight-magnitude-implausible."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.model import names

#: No linear layer of a language model has weights beyond these.
_TOO_LARGE, _TOO_SMALL = 1e4, 1e-9

#: Nor does one differ so much from the same layer elsewhere in the model.
_UNLIKE_SIBLINGS = 1e4

_ENOUGH_SIBLINGS = 4


@rule(
    "CK505",
    "weight-magnitude-implausible",
    Severity.WARNING,
    level=Level.FULL,
    reports=(
        "Lightricks/LTX-2#172",
        "wuwangzhang1216/abliterix#93",
    ),
)
def weight_magnitude_implausible(context: Context) -> Iterator[Fault]:
    """A weight's largest magnitude, scale included, is absurd or quite unlike that of the same layer elsewhere.

    Why it hurts: the scale is missing its exponent, inverted, or another tensor's. The layer's output drowns all
    others, or vanishes.

    Example: ``layers.7.mlp.up_proj`` has weights up to 5.1e5 where the other layers' reach 0.3.

    Fix: look for the cause: CK201, CK203 to CK205 and CK403 name the usual ones.
    """
    from statistics import median

    siblings: dict[str, list[float]] = {}
    for name, scan in context.weight_scans.items():
        if scan.absmax and math.isfinite(scan.absmax):
            siblings.setdefault(names.generalise(name), []).append(scan.absmax)
    usual = {kind: median(values) for kind, values in siblings.items() if len(values) >= _ENOUGH_SIBLINGS}
    for name, scan in context.weight_scans.items():
        if not scan.absmax or not math.isfinite(scan.absmax):
            continue
        middle = usual.get(names.generalise(name), scan.absmax)
        absurd = not _TOO_SMALL < scan.absmax < _TOO_LARGE
        if absurd or not 1 / _UNLIKE_SIBLINGS < scan.absmax / middle < _UNLIKE_SIBLINGS:
            expected = f"about {middle:.3g}, as elsewhere" if middle != scan.absmax else "between 1e-9 and 1e4"
            message = "the largest weight is implausible"
            yield Fault("weight-magnitude", message, scan.tensor.shard, name, expected, f"{scan.absmax:.3g}")
