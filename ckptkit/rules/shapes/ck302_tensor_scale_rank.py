"""CK302 tensor-scale-rank, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerTensor
from ckptkit.rules.shapes.grids import rank_faults, reshape_weight_scale


@rule(
    "CK302",
    "tensor-scale-rank",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#10765",
        "vllm-project/vllm#29867",
        "unslothai/unsloth#8953",
    ),
)
def tensor_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-tensor scale is one value, but neither [] nor [1].

    Why it hurts: vLLM takes both of those and asserts on [1, 1]; other readers take [1, 1] for a grid of blocks.

    Example: ``weight_scale`` [1, 1] after a tool kept the dimensions of a reduction.

    Fix: reshape it; the bytes do not change. A conversion does.
    """
    yield from rank_faults(context, PerTensor)


fix("safe", "CK302")(reshape_weight_scale)
