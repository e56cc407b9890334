"""CK504 weight-saturated."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault

#: An ordinary quantizer saturates the largest weight of each scale, and far fewer than one in a hundred.
_SATURATED = 0.02


@rule("CK504", "weight-saturated", Severity.WARNING, level=Level.FULL, reports=("THUDM/slime#2256",))
def weight_saturated(context: Context) -> Iterator[Fault]:
    """An abnormal share of a weight's codes is saturated at 448.

    Why it hurts: the scale was too small, or underflowed, and everything beyond it was clipped: the layer has lost
    its largest weights. The share is estimated from one chunk in eight.

    Example: 14 % of ``up_proj.weight`` is 0x7E or 0xFE.

    Fix: quantize again with a scale of the largest magnitude over 448.
    """
    scales = {module.weight.name: module.weight_scale for module in context.modules}
    for scan in context.weight_scans.values():
        scale = scales.get(scan.tensor.name)
        if scale is not None and scale.numel > scan.units:
            continue  # CK306: there are more scales than the config says, and as many largest weights
        # The largest weight of each row or block is saturated by design, also where rows are short.
        by_design = 2 * scan.units / scan.elements
        if scan.saturated_share > _SATURATED + by_design:
            message = "too many codes are saturated"
            found = f"{scan.saturated_share:.1%}"
            yield Fault("weight-saturated", message, scan.tensor.shard, scan.tensor.name, "well below 2 %", found)
