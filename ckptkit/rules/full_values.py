"""CK503 to CK508: the values of weights, from one pass over every byte of them (``--level full``)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.model import names

#: An ordinary quantizer saturates the largest weight of each scale, and far fewer than one in a hundred.
_SATURATED = 0.02
#: No linear layer of a language model has weights beyond these.
_TOO_LARGE, _TOO_SMALL = 1e4, 1e-9
#: Nor does one differ so much from the same layer elsewhere in the model.
_UNLIKE_SIBLINGS = 1e4
_ENOUGH_SIBLINGS = 4


@rule("CK503", "weight-nan", Severity.ERROR, level=Level.FULL)
def weight_nan(context: Context) -> Iterator[Fault]:
    """A weight holds NaN codes (0x7F or 0xFF).

    Why it hurts: one of them makes a whole row of outputs NaN. They come from casts that do not clamp to 448 first;
    some decoders read them as 480 and hide it.

    Example: 3 NaN codes in ``experts.17.down_proj.weight``.

    Mend: clamp them to 448, which is what the cast should have done, or export again.
    """
    for scan in context.weight_scans.values():
        if scan.nans:
            message = f"{scan.nans} of {scan.elements} codes are NaN"
            yield Fault("weight-nan", message, scan.tensor.shard, scan.tensor.name, "no 0x7F or 0xFF", f"{scan.nans}")


@rule("CK504", "weight-saturated", Severity.WARNING, level=Level.FULL)
def weight_saturated(context: Context) -> Iterator[Fault]:
    """An abnormal share of a weight's codes is saturated at 448.

    Why it hurts: the scale was too small, or underflowed, and everything beyond it was clipped: the layer has lost
    its largest weights. The share is estimated from one chunk in eight.

    Example: 14 % of ``up_proj.weight`` is 0x7E or 0xFE.

    Mend: quantize again with a scale of the largest magnitude over 448.
    """
    for scan in context.weight_scans.values():
        # The largest weight of each row or block is saturated by design, also where rows are short.
        by_design = 2 * scan.units / scan.elements
        if scan.saturated_share > _SATURATED + by_design:
            message = "too many codes are saturated"
            found = f"{scan.saturated_share:.1%}"
            yield Fault("weight-saturated", message, scan.tensor.shard, scan.tensor.name, "well below 2 %", found)


@rule("CK505", "weight-magnitude-implausible", Severity.WARNING, level=Level.FULL)
def weight_magnitude_implausible(context: Context) -> Iterator[Fault]:
    """A weight's largest magnitude, scale included, is absurd or quite unlike that of the same layer elsewhere.

    Why it hurts: the scale is missing its exponent, inverted, or another tensor's. The layer's output drowns all
    others, or vanishes.

    Example: ``layers.7.mlp.up_proj`` has weights up to 5.1e5 where the other layers' reach 0.3.

    Mend: look for the cause: CK201, CK203 to CK205 and CK403 name the usual ones.
    """
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


@rule("CK507", "weight-all-zero", Severity.INFO, level=Level.FULL)
def weight_all_zero(context: Context) -> Iterator[Fault]:
    """A weight, or whole rows or blocks of it, are zero.

    Why it hurts: usually nothing: pruned experts and padded vocabularies look so. But a merge of scales that divides
    by an expert's largest weight makes NaN of it, and a tensor that was never written looks so too.

    Example: all of ``experts.93.up_proj.weight``.

    Mend: nothing if it is meant.
    """
    for scan in context.weight_scans.values():
        if scan.zero_units:
            what = (
                "the weight is"
                if scan.zero_units == scan.units
                else f"{scan.zero_units} of {scan.units} scales' weights are"
            )
            yield Fault("weight-zero", f"{what} all zero", scan.tensor.shard, scan.tensor.name)


@rule("CK508", "scale-wider-than-weight", Severity.INFO, level=Level.FULL)
def scale_wider_than_weight(context: Context) -> Iterator[Fault]:
    """Most scales of a weight are far larger than their largest weight asks for.

    Why it hurts: the codes use the lower part of the range only. Precision suffers where they become subnormal, and
    the scale may be another tensor's. Scales shared by fused layers or rounded to powers of two stay within it.

    Example: the largest code of ``down_proj`` stands for 3.5 where a fitting scale gives 448.

    Mend: quantize again if it is not meant.
    """
    for scan in context.weight_scans.values():
        if scan.slack_units * 2 > scan.units:
            message = f"{scan.slack_units} of {scan.units} scales use less than a 64th of E4M3's range"
            yield Fault("scale-slack", message, scan.tensor.shard, scan.tensor.name, "codes up to 448", "codes below 7")
