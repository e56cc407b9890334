"""CK508 scale-wider-than-weight."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault


@rule(
    "CK508",
    "scale-wider-than-weight",
    Severity.INFO,
    level=Level.FULL,
    unreported="a property of the full scan, of use when two exports are compared",
)
def scale_wider_than_weight(context: Context) -> Iterator[Fault]:
    """Most scales of a weight are far larger than their largest weight asks for.

    Why it hurts: the codes use the lower part of the range only. Precision suffers where they become subnormal, and
    the scale may be another tensor's. Scales shared by fused layers or rounded to powers of two stay within it.

    Example: the largest code of ``down_proj`` stands for 3.5 where a fitting scale gives 448.

    Fix: quantize again if it is not meant.
    """
    for scan in context.weight_scans.values():
        if scan.slack_units * 2 > scan.units:
            message = f"{scan.slack_units} of {scan.units} scales use less than a 64th of E4M3's range"
            yield Fault("scale-slack", message, scan.tensor.shard, scan.tensor.name, "codes up to 448", "codes below 7")
