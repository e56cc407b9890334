"""CK509 weight-scaled-twice."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.checks.samples import Sample, samples
from ckptkit.errors import Fault

#: Of so many weights one may fit by chance.
_ENOUGH_WEIGHTS = 4
#: The largest value of E4M3, and how far rounding to it takes the largest value of a unit: half a step, and BF16's.
_E4M3_MAX, _ROUNDED = 448.0, 2**-4 + 2**-8
#: Codes of fitting scales reach far beyond this; and how many times the largest value of a few rows that of all may be.
_SMALL, _LARGEST_ELSEWHERE = 7.0, 4.0


@rule(
    "CK509",
    "weight-scaled-twice",
    Severity.ERROR,
    level=Level.SCALES,
    samples=True,
    unreported="what is left of an export that dequantized weights, stored them as FP8 again and kept the scales",
)
def weight_scaled_twice(context: Context) -> Iterator[Fault]:
    """Codes hold the weights themselves, and the scales that they were divided by are stored all the same.

    Why it hurts: engines multiply once more, and every weight is a few hundred to a few thousand times too small. No
    engine says a word.

    Example: the largest code of a row stands for 0.21, and its scale is 0.21 / 448. A few rows of a few weights tell.

    Fix: export again; or remove the scales and the quantization config, and cast the weights to BF16.
    """
    found = [(sample, shares) for sample in samples(context.container, context.modules) if (shares := _fitting(sample))]
    twice = [(sample, shares) for sample, shares in found if sum(shares) * 2 > len(shares)]
    if len(found) < _ENOUGH_WEIGHTS or len(twice) * 2 <= len(found):
        return
    worst, shares = twice[0]
    message = f"{len(twice)} of {len(found)} weights are stored unscaled, beside the scales that they would have"
    told = f"{sum(shares)} of {len(shares)} scales are a 448th of the largest code itself"
    yield Fault("scaled-twice", message, worst.tensor.shard, worst.tensor.name, "codes up to 448", told)


def _fitting(sample: Sample) -> list[bool]:
    """For each unit that is not all zero: whether its scale is the one that its largest value, unscaled, asks for."""
    most = 1 + _ROUNDED if sample.whole else _LARGEST_ELSEWHERE
    return [
        largest < _SMALL and 1 - _ROUNDED <= _E4M3_MAX * scale / largest <= most
        for largest, scale in sample.units
        if largest
    ]
