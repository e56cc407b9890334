"""CK401 scale-f16-subnormal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault

#: The smallest normal F16: below it, precision goes bit by bit, and at 6e-8 to zero.
_SMALLEST_NORMAL_F16 = 2.0**-14
#: From here on few numbers are rounded to a power of two by chance.
_ENOUGH_BITS = 2.0**-20


@rule(
    "CK401",
    "scale-f16-subnormal",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "HabanaAI/vllm-fork#2141",
        "vllm-project/llm-compressor#958",
        "intel/auto-round#207",
    ),
)
def scale_f16_subnormal(context: Context) -> Iterator[Fault]:
    """A scale is stored as F16 and is so small that the type cannot hold it exactly, or at all.

    Why it hurts: below 6.1e-5 F16 loses precision bit by bit and at 6e-8 it is zero. BF16 and F32 scales are fine in
    every loader that was examined, and so are F16 scales of ordinary size; the dtype alone is no finding. A power of
    two down to 9.5e-7 is taken for exact.

    Example: ``weight_scale`` F16 with the value 7e-7.

    Fix: export again with F32 scales.
    """
    if "F16" not in context.dtypes:
        return
    for tensor, values in context.scale_values.where(lambda values: values.minimum < _SMALLEST_NORMAL_F16):
        if tensor.dtype == "F16" and not _is_exact(values.minimum):
            message = "scales are below the smallest normal F16 and have lost precision"
            found = f"{values.minimum:.3g}"
            yield Fault("scale-f16", message, tensor.shard, tensor.name, "F32, or at least 6.1e-5", found)


def _is_exact(value: float) -> bool:
    """Whether a number below the normal ones is a power of two, which F16 holds with nothing lost.

    >>> _is_exact(2.0**-17), _is_exact(2.0**-17 + 2.0**-24), _is_exact(2.0**-23)
    (True, False, False)
    """
    return value >= _ENOUGH_BITS and math.frexp(value)[0] == 0.5
