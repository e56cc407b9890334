"""The shapes of scales that a format allows, against those that are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, StoredTensor
from ckptkit.edits.changes import Edit, Reshape
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock
from ckptkit.storage.payload import TensorRef

#: Dtypes that hold packed exponents or codes where a scale is expected.
PACKED_DTYPES = frozenset({"I32", "U32", "I64", "U64"})


#: A module, its scale, and the shapes that the scale may have.
Mismatch: TypeAlias = tuple[QuantizedModule, TensorRef, tuple[tuple[int, ...], ...]]


def mismatches(context: Context) -> tuple[Mismatch, ...]:
    """Modules whose stored scale has none of the shapes that the format's loaders accept; five rules ask for them."""
    return context.remembered("mismatches", lambda: _mismatches(context))


def _mismatches(context: Context) -> tuple[Mismatch, ...]:
    if context.checkpoint is None or context.format is None:
        return ()
    found = []
    loose = context.dialect is not None and context.dialect.loose_scales
    for kind in context.checkpoint.alike:
        weight, scale = kind.first.weight, kind.first.weight_scale
        if scale is None or not (len(weight.shape) == 2 or weight.name.endswith(".weight")):
            continue
        wanted = context.format.scale_shapes(kind.first.scheme.weight.granularity, weight.shape)
        if scale.shape not in wanted and not (loose and scale.numel == 1 and () in wanted):
            found += [(module, module.weight_scale, wanted) for module in kind.modules if module.weight_scale]
    return tuple(found)


def rank_faults(context: Context, kind: type[Granularity]) -> Iterator[Fault]:
    """Scales of one kind of granularity with the right values in the wrong rank."""
    for module, scale, wanted in mismatches(context):
        granularity = module.scheme.weight.granularity
        if isinstance(granularity, kind) and same_values(scale.shape, granularity.scale_shape(module.weight.shape)):
            yield shape_fault("scale-rank", module, scale, wanted)


def same_values(stored: tuple[int, ...], canonical: tuple[int, ...]) -> bool:
    """Whether two shapes hold the same values in the same order: equal but for axes of length 1.

    >>> same_values((64, 1), (64,)), same_values((1, 1), ()), same_values((1,), (64,))
    (True, True, False)
    """
    return [n for n in stored if n != 1] == [n for n in canonical if n != 1]


def is_transposed(scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a scale has an allowed shape the other way round."""
    return scale.shape[::-1] in wanted


def is_four_dimensional(scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a scale has ModelOpt's four dimensions around an allowed grid."""
    return len(scale.shape) == 4 and scale.shape[1] == scale.shape[3] == 1 and scale.shape[::2] in wanted


def is_one_block(module: QuantizedModule, scale: TensorRef) -> bool:
    """Whether a scale without axes is that of a weight with one block only: ModelOpt writes these so."""
    grid = module.scheme.weight.granularity.scale_shape(module.weight.shape)
    return scale.shape == () and len(grid) > 0 and all(extent == 1 for extent in grid)


def is_whole_weight(module: QuantizedModule) -> bool:
    """Whether a weight is as large as one block, no smaller: some kernels then take a scale for that of a tensor."""
    granularity = module.scheme.weight.granularity
    return isinstance(granularity, PerBlock) and module.weight.shape == (granularity.rows, granularity.columns)


def shape_fault(kind: str, module: QuantizedModule, scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> Fault:
    """The fault that a scale has none of the shapes that its format stores."""
    granularity = module.scheme.weight.granularity
    return Fault(
        kind,
        f"the {granularity} scale of a weight {list(module.weight.shape)} has the wrong shape",
        scale.shard,
        scale.name,
        expected=" or ".join(str(list(shape)) for shape in wanted),
        found=str(list(scale.shape)),
    )


def reshape_weight_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the rank that the format stores; its values and their order stay."""
    module = _owner(context, finding)
    if module is not None and module.weight_scale is not None:
        yield from _reshaped(context, module.weight_scale, module.scheme.weight.granularity, module.weight.shape)


def _reshaped(
    context: Context, scale: TensorRef, granularity: Granularity, weight_shape: tuple[int, ...]
) -> Iterator[Edit]:
    if context.format is not None:
        wanted = context.format.scale_shapes(granularity, weight_shape)[0]
        if wanted != scale.shape:
            yield Reshape(scale.shard, scale.name, scale.shape, wanted)


def _owner(context: Context, finding: Finding) -> QuantizedModule | None:
    """The quantized module whose weight scale a finding is about; its name is one or two parts shorter."""
    subject = finding.subject
    if not isinstance(subject, StoredTensor):
        return None
    name = names.parent(subject.name)
    for candidate in (name, names.parent(name)):
        module = context.checkpoint.modules.get(candidate) if context.checkpoint else None
        if module is not None and module.weight_scale is not None and module.weight_scale.name == subject.name:
            return module
    return None


def taken_for(shape: tuple[int, ...], block: PerBlock) -> str | None:
    """What a reader takes a grid for who divides a weight's sides by it; None for the blocks that are meant.

    >>> [taken_for(shape, PerBlock(128, 128)) for shape in ((256, 128), (256, 256), (160, 256), (576, 256))]
    ['one-column', None, 'other-blocks', 'misfit']
    """
    grid = block.scale_shape(shape)
    if grid[1] == 1:
        return "one-column" if grid[0] > 1 else None
    sides = [(shape[1], grid[1], block.columns)]
    sides += [(shape[0], grid[0], block.rows)] if grid[0] > 1 else []
    if all(side // extent == size for side, extent, size in sides):
        return None
    return "other-blocks" if all(-(-side // (side // extent)) == extent for side, extent, _ in sides) else "misfit"
