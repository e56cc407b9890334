"""CK502 scale-not-finite."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.rules.values.module_scales import odd_scales, scale_fault


@rule(
    "CK502",
    "scale-not-finite",
    Severity.ERROR,
    level=Level.SCALES,
    reports=(
        "vllm-project/vllm#54444",
        "onnxruntime/mobius#447",
    ),
)
def scale_not_finite(context: Context) -> Iterator[Fault]:
    """A weight or input scale is NaN, infinite or negative.

    Why it hurts: nothing is raised at load time; the layer's output is garbage.

    Example: ``down_proj.weight_scale`` with 3 NaN among 4096 values.

    Fix: export again.
    """
    for tensor, values in odd_scales(context):
        if values.invalid:
            yield scale_fault("scale-not-finite", "NaN, infinite or negative", tensor, values, values.invalid)
