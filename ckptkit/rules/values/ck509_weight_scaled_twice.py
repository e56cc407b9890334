"""CK509 weight-scaled-twice."""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.checks.samples import Sample, samples
from ckptkit.errors import Fault

#: Of so many scales one may fit by chance.
_ENOUGH_SCALES = 4
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

    Example: the largest code of a row stands for 0.21, and its scale is 0.21 / 448. A few rows of a few weights tell;
    of a checkpoint on a Hub they are read with all others (``--level full``).

    Fix: export again; or remove the scales and the quantization config, and cast the weights to BF16.
    """
    fetched = context.container.source.traits.remote and "weight_scans" not in vars(context)
    if fetched:  # where every byte has to be asked for, weights are read on the level that reads all of them
        return
    found = tuple(samples(context.container, context.modules))
    exactly, nearly = (
        [(sample, fits) for sample in found if 2 * sum(fits := _fitting(sample, reach)) > len(fits)] for reach in (1, 2)
    )
    if sum(sum(fits) for _, fits in exactly) >= _ENOUGH_SCALES:
        twice = exactly
    elif sum(sum(fits) for _, fits in nearly) >= _ENOUGH_SCALES and 2 * len(nearly) > len(found):
        twice = nearly
    else:
        return
    worst, fits = twice[0]
    message = f"{len(twice)} of {len(found)} weights are stored unscaled, beside the scales that they would have"
    told = f"{sum(fits)} of {len(fits)} scales are a 448th of the largest code itself"
    yield Fault("scaled-twice", message, worst.tensor.shard, worst.tensor.name, "codes up to 448", told)


def _fitting(sample: Sample, reach: int) -> list[bool]:
    """For each unit that is not all zero: whether its scale is the one that its largest value, unscaled, asks for.

    With a ``reach`` of 2 the next power of two counts too: where most weights have such scales.
    """
    most = (1 + _ROUNDED) if sample.whole else _LARGEST_ELSEWHERE
    found = []
    for largest, scale in sample.units:
        if largest:
            ratio = _E4M3_MAX * scale / largest
            fits = ratio <= most or (reach > 1 and frexp(scale)[0] == 0.5 and ratio <= reach * most)
            found.append(largest < _SMALL and ratio >= 1 - _ROUNDED and fits)
    return found
