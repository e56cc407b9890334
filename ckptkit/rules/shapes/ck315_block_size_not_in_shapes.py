"""CK315 block-size-not-in-shapes."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock
from ckptkit.rules.shapes.grids import taken_for


@rule(
    "CK315",
    "block-size-not-in-shapes",
    Severity.INFO,
    conversion=OnConversion.CARRIED,
    unreported="found by loading block scales with two releases of compressed-tensors",
)
def block_size_not_in_shapes(context: Context) -> Iterator[Fault]:
    """The shapes of a weight and its block scale, without the config, tell of another granularity or block size.

    Why it hurts: older releases of compressed-tensors do not ask the config when they dequantize. A grid of one column
    is a scale of channels to them, and rows that are no multiple of the block are shared out evenly.

    Example: a weight [160, 256] in blocks of 128 with a scale [2, 2], which also fits blocks of 80 rows.

    Fix: nothing is wrong with the file; use a release that reads the block size.
    """
    dialect = context.dialect
    if context.checkpoint is None or dialect is None or dialect.keys.groups is None:  # others are read by one size
        return
    if context.method != context.block.get("quant_method") or any(context.faults("ct-status")):
        return  # such a release dequantizes nothing then
    for kind in context.checkpoint.alike:
        weight, granularity = kind.first.weight, kind.first.scheme.weight.granularity
        if not isinstance(granularity, PerBlock) or len(weight.shape) != 2 or 0 in weight.shape:
            continue
        variant = taken_for(weight.shape, granularity)
        if variant is not None:
            grid = list(granularity.scale_shape(weight.shape))
            message = f"the scale {grid} of a weight {list(weight.shape)} fits other blocks too"
            expected = f"blocks of {granularity.rows} x {granularity.columns}, which the config says alone"
            yield Observation("block-size-guess", message, weight.shard, weight.name, expected, variant=variant)
