"""CK303 block-scale-grid."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.checks.skip_lists import engines_that_build, readings_of, undeclared_weights
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.rules.naming.scale_names import misnamed_scale
from ckptkit.rules.shapes.grids import is_four_dimensional, is_transposed, mismatches, shape_fault


@rule(
    "CK303",
    "block-scale-grid",
    Severity.ERROR,
    reports=(
        "vllm-project/compressed-tensors#547",
        "NVIDIA/TensorRT-Model-Connect#1115",
        "modelscope/mcore-bridge#32",
    ),
)
def block_scale_grid(context: Context) -> Iterator[Fault]:
    """A block or group scale is not the grid that the declared block size gives for its weight.

    Why it hurts: the grid is [ceil(N/rows), ceil(K/columns)], ragged at the edges. With any other, every reader stops
    or shifts scales against their blocks. The block size is taken from the config and never guessed from the shapes:
    192 rows with 2 scales fit 96-row and 128-row blocks alike.

    Example: a weight [576, 7168] in blocks of 128 with a scale [4, 56]: the half block of rows was left out.

    Fix: correct the declared block size if it is wrong, else export again.
    """
    misnamed = misnamed_scale(context)
    for module, scale, wanted in mismatches(context):
        granularity = module.scheme.weight.granularity
        blocked = isinstance(granularity, (PerBlock, PerGroup)) and len(scale.shape) != 0
        flat = scale.shape == granularity.scale_shape(module.weight.shape)  # CK305
        if blocked and not flat and not is_transposed(scale, wanted) and not is_four_dimensional(scale, wanted):
            fault = shape_fault("block-scale-grid", module, scale, wanted)
            known = "" if misnamed is None or names.last_part(scale.name) != misnamed[1] else "other-name"
            words = (_variant(scale.shape, wanted[0]) or "", known)
            yield Observation.of(fault, variant="/".join(filter(None, words)) or None)
    yield from _built_all_the_same(context)


def _built_all_the_same(context: Context) -> Iterator[Observation]:
    """Scales of FP8 weights that the config does not call quantized, and that some engines find on no list of theirs:
    where it has one size of blocks, they build these."""
    checkpoint = context.checkpoint
    orphans = {tensor.module: tensor for tensor in checkpoint.orphans} if checkpoint is not None else {}
    weights = [weight for weight in undeclared_weights(context) if weight.module in orphans]
    if checkpoint is None or context.format is None or not weights or keys_of(context).groups is not None:
        return
    sizes = {kind.first.scheme.weight.granularity for kind in checkpoint.alike}
    blocks = sizes.pop() if len(sizes) == 1 else None
    if not isinstance(blocks, PerBlock):
        return
    for weight in weights:
        scale, wanted = orphans[weight.module], context.format.scale_shapes(blocks, weight.shape)
        building = engines_that_build(context, weight.module, quantized=True) or frozenset()
        building &= frozenset(readings_of(context))
        if building and len(scale.shape) == 2 and scale.shape not in wanted:
            yield Observation(
                "block-scale-grid",
                f"the scale of a weight {list(weight.shape)} has the wrong shape for those who build it in blocks",
                scale.shard,
                scale.name,
                expected=" or ".join(str(list(shape)) for shape in wanted),
                found=str(list(scale.shape)),
                variant=_variant(scale.shape, wanted[0]),
                only=building,
            )


def _variant(stored: tuple[int, ...], wanted: tuple[int, ...]) -> str | None:
    """What engines tell apart: no grid, or one with more or fewer rows, or fewer rows and columns.

    >>> [_variant(stored, (2, 3)) for stored in ((6,), (3, 3), (1, 3), (1, 1), (2, 4))]
    ['flat', 'more-rows', 'fewer-rows', 'coarser', None]
    """
    if len(stored) != len(wanted):
        return "flat" if len(stored) == 1 else "four"
    rows, columns = stored[0] - wanted[0], stored[1] - wanted[1]
    if rows and not columns:
        return "more-rows" if rows > 0 else "fewer-rows"
    return "coarser" if rows < 0 and columns < 0 else None
