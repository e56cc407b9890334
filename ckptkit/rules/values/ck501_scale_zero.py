"""CK501 scale-zero."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.rules.values.module_scales import odd_scales, scale_fault


@rule(
    "CK501",
    "scale-zero",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "vllm-project/vllm#45212",
        "THUDM/slime#2256",
        "NVIDIA/Model-Optimizer#1382",
    ),
)
def scale_zero(context: Context) -> Iterator[Fault]:
    """A weight or input scale is exactly zero.

    Why it hurts: the weights under it become zero whatever their bytes say, and any path that divides by the scale
    makes infinities and then NaN tokens, for some prompts only.

    Example: one zero among the 128 scales of an expert that saw no calibration data.

    Fix: export again; where the weights under the scale are all zero, any tiny positive scale does.
    """
    for tensor, values in odd_scales(context):
        if values.zeros:
            yield scale_fault("scale-zero", "zero", tensor, values, values.zeros)
