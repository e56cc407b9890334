"""CK402 scale-e8m0-undeclared."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import declares_e8m0, weight_scales


@rule(
    "CK402",
    "scale-e8m0-undeclared",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#53278",
        "sgl-project/sglang#26701",
    ),
)
def scale_e8m0_undeclared(context: Context) -> Iterator[Fault]:
    """A scale is stored as F8_E8M0 although the config does not say that scales are powers of two.

    Why it hurts: loaders that allocate F32 convert by value, which is right, or copy into another one-byte type,
    which is not. Which of the two happens depends on the backend.

    Example: ``weight_scale`` F8_E8M0 in a Quark checkpoint whose spec has ``scale_type: float``.

    Fix: widen the scales to F32, which is exact, or declare the type.
    """
    if declares_e8m0(context):
        return
    for tensor in weight_scales(context, "F8_E8M0"):
        message = "a power-of-two type that the config does not declare"
        yield Fault("scale-e8m0", message, tensor.shard, tensor.name, "F32, or a declared type", tensor.dtype)
