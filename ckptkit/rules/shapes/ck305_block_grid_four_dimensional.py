"""CK305 block-grid-four-dimensional, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock
from ckptkit.rules.shapes.grids import (
    is_four_dimensional,
    is_one_block,
    is_whole_weight,
    mismatches,
    reshape_weight_scale,
    shape_fault,
)


@rule(
    "CK305",
    "block-grid-four-dimensional",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#54126",
        "NVIDIA/TensorRT-LLM#17433",
    ),
)
def block_grid_four_dimensional(context: Context) -> Iterator[Fault]:
    """A block scale has ModelOpt's four dimensions where two are expected, or two or none where ModelOpt's four are.

    Why it hurts: ``FP8_PB_WO`` stores [N/128, 1, K/128, 1]. vLLM's ModelOpt loader fails on a plain grid, others
    fail on four dimensions; linear layers of TensorRT-LLM take both. Where a weight is one block, ModelOpt itself
    writes a scale without any.

    Example: ``weight_scale`` [2, 1, 4, 1] in a compressed-tensors checkpoint.

    Fix: reshape it; the bytes do not change. A conversion does.
    """
    for module, scale, wanted in mismatches(context):
        blocked = isinstance(module.scheme.weight.granularity, PerBlock)
        if blocked and (is_four_dimensional(scale, wanted) or is_one_block(module, scale)):
            fault = shape_fault("block-grid-dimensions", module, scale, wanted)
            yield Observation.of(fault, variant="whole-weight" if is_whole_weight(module) else None)
    yield from context.faults("block-grid-flat")


fix("safe", "CK305")(reshape_weight_scale)
