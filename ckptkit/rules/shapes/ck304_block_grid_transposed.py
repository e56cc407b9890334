"""CK304 block-grid-transposed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock
from ckptkit.rules.shapes.grids import is_transposed, mismatches, shape_fault


@rule("CK304", "block-grid-transposed", Severity.ERROR, reports=("unslothai/unsloth#8953",))
def block_grid_transposed(context: Context) -> Iterator[Fault]:
    """A block scale's grid is stored transposed.

    Why it hurts: loaders that check the shape stop; those that check the number of values only give each block
    another block's scale. Where N = K the shape shows nothing, and only the full scan's magnitudes can.

    Example: a weight [256, 512] in blocks of 128 with a scale [4, 2].

    Fix: transpose the grid's values.
    """
    for module, scale, wanted in mismatches(context):
        if isinstance(module.scheme.weight.granularity, PerBlock) and is_transposed(scale, wanted):
            yield shape_fault("block-grid-transposed", module, scale, wanted)
