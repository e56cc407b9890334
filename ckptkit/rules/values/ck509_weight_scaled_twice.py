"""CK509 weight-scaled-twice."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault

#: Of so many weights one may fit by chance.
_ENOUGH_WEIGHTS = 4


@rule(
    "CK509",
    "weight-scaled-twice",
    Severity.ERROR,
    level=Level.FULL,
    unreported="what is left of an export that dequantized weights, stored them as FP8 again and kept the scales",
)
def weight_scaled_twice(context: Context) -> Iterator[Fault]:
    """Codes hold the weights themselves, and the scales that they were divided by are stored all the same.

    Why it hurts: engines multiply once more, and every weight is a few hundred to a few thousand times too small. No
    engine says a word.

    Example: the largest code of a row stands for 0.21, and its scale is 0.21 / 448.

    Fix: export again; or remove the scales and the quantization config, and cast the weights to BF16.
    """
    scans = [scan for scan in context.weight_scans.values() if scan.units > scan.zero_units]
    twice = [scan for scan in scans if scan.own_units * 2 > scan.units - scan.zero_units]
    if len(scans) < _ENOUGH_WEIGHTS or len(twice) * 2 <= len(scans):
        return
    worst = twice[0]
    found = f"{worst.own_units} of {worst.units} scales are a 448th of the largest code itself"
    message = f"{len(twice)} weights are stored unscaled, beside the scales that they would have"
    yield Fault("scaled-twice", message, worst.tensor.shard, worst.tensor.name, "codes up to 448", found)
