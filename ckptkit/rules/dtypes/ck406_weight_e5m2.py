"""CK406 weight-e5m2."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import weight_faults


@rule(
    "CK406",
    "weight-e5m2",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#8409",
        "vllm-project/vllm#45040",
    ),
)
def weight_e5m2(context: Context) -> Iterator[Fault]:
    """A weight is stored as e5m2.

    Why it hurts: no FP8 linear layer takes it: loaders cast it to e4m3fn by value, silently on fused layers. No
    report of such a checkpoint was found; the finding rests on what loaders do with one.

    Example: ``q_proj.weight`` F8_E5M2.

    Fix: quantize again to e4m3fn.
    """
    yield from weight_faults(context, "F8_E5M2")
