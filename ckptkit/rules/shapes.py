"""CK3xx: the shapes of scales, as declared by the config, against the shapes that are stored."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import OnConversion, rule
from ckptkit.storage.payload import TensorRef


@rule("CK301", "channel-scale-rank", Severity.ERROR, conversion=OnConversion.MENDED)
def channel_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-channel scale has the right number of values in the wrong rank.

    compressed-tensors stores [N, 1], Quark and ModelOpt store [N]. vLLM stops with an assertion that has no
    message; transformers broadcasts [N] along the wrong axis, silently where the weight is square.

    Mend: reshape it; the bytes do not change. A conversion does.
    """
    yield from _rank_faults(context, PerChannel)


@rule("CK302", "tensor-scale-rank", Severity.ERROR, conversion=OnConversion.MENDED)
def tensor_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-tensor scale is one value, but neither [] nor [1].

    vLLM takes both of those and asserts on [1, 1].

    Mend: reshape it; the bytes do not change. A conversion does.
    """
    yield from _rank_faults(context, PerTensor)


@rule("CK303", "block-scale-grid", Severity.ERROR)
def block_scale_grid(context: Context) -> Iterator[Fault]:
    """A block or group scale is not the grid that the declared block size gives for its weight.

    The grid is [ceil(N/rows), ceil(K/columns)], ragged at the edges. The block size is taken from the config
    and never guessed from the shapes: 192 rows with 2 scales fit 96-row and 128-row blocks alike.

    Mend: correct the declared block size if it is wrong, else export again.
    """
    for module, scale, wanted in _mismatches(context):
        if isinstance(module.scheme.weight.granularity, (PerBlock, PerGroup)) and len(scale.shape) != 0:
            yield _shape_fault("block-scale-grid", module, scale, wanted)


@rule("CK306", "scale-granularity", Severity.ERROR)
def scale_granularity(context: Context) -> Iterator[Fault]:
    """A weight scale has another granularity than the config declares.

    For example one value for the whole weight where one for each row is declared.

    Mend: correct the strategy in the config if the tensors are right, else export again.
    """
    for module, scale, wanted in _mismatches(context):
        granularity = module.scheme.weight.granularity
        if isinstance(granularity, (PerBlock, PerGroup)):
            wrong = len(scale.shape) == 0
        else:
            wrong = not _same_values(scale.shape, granularity.scale_shape(module.weight.shape))
        if wrong:
            yield _shape_fault("scale-granularity", module, scale, wanted)


@rule("CK311", "input-scale-shape", Severity.ERROR)
def input_scale_shape(context: Context) -> Iterator[Fault]:
    """A static input scale is not one value.

    Static activations have one scale for the whole tensor in every FP8 format here.

    Mend: export again with per-tensor activations.
    """
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        scale = module.input_scale
        if scale is not None and module.scheme.has_static_input and scale.numel != 1:
            yield Fault(
                "input-scale-shape",
                "a static input scale must be one value",
                scale.shard,
                scale.name,
                expected="[] or [1]",
                found=str(list(scale.shape)),
            )


def _mismatches(context: Context) -> Iterator[tuple[QuantizedModule, TensorRef, tuple[tuple[int, ...], ...]]]:
    """Modules whose stored scale has none of the shapes that the format's loaders accept."""
    if context.checkpoint is None or context.format is None:
        return
    for module in context.checkpoint.modules.values():
        scale = module.weight_scale
        if scale is None:
            continue
        wanted = context.format.scale_shapes(module.scheme.weight.granularity, module.weight.shape)
        if scale.shape not in wanted:
            yield module, scale, wanted


def _rank_faults(context: Context, kind: type[Granularity]) -> Iterator[Fault]:
    for module, scale, wanted in _mismatches(context):
        granularity = module.scheme.weight.granularity
        if isinstance(granularity, kind) and _same_values(scale.shape, granularity.scale_shape(module.weight.shape)):
            yield _shape_fault("scale-rank", module, scale, wanted)


def _same_values(stored: tuple[int, ...], canonical: tuple[int, ...]) -> bool:
    """Whether two shapes hold the same values in the same order: equal but for axes of length 1.

    >>> _same_values((64, 1), (64,)), _same_values((1, 1), ()), _same_values((1,), (64,))
    (True, True, False)
    """
    return [n for n in stored if n != 1] == [n for n in canonical if n != 1]


def _shape_fault(kind: str, module: QuantizedModule, scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> Fault:
    granularity = module.scheme.weight.granularity
    return Fault(
        kind,
        f"the {granularity} scale of a weight {list(module.weight.shape)} has the wrong shape",
        scale.shard,
        scale.name,
        expected=" or ".join(str(list(shape)) for shape in wanted),
        found=str(list(scale.shape)),
    )
