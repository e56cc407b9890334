"""CK3xx: the shapes of weights and scales, as config and format declare them, against the shapes that are stored."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.decoder_shapes import decoder_shapes
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.storage.payload import TensorRef

#: Dtypes that hold packed exponents or codes where a scale is expected.
PACKED_DTYPES = frozenset({"I32", "U32", "I64", "U64"})
#: FP8 matrix multiplications read 16 elements at once.
_MULTIPLE = 16


@rule("CK301", "channel-scale-rank", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def channel_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-channel scale has the right number of values in the wrong rank.

    Why it hurts: vLLM stops with an assertion that has no message; transformers broadcasts [N] along the wrong axis,
    silently where the weight is square.

    Example: ``weight_scale`` [64] in a compressed-tensors checkpoint, which stores [64, 1]; Quark and ModelOpt store
    [64].

    Mend: reshape it; the bytes do not change. A conversion does.
    """
    yield from _rank_faults(context, PerChannel)


@rule("CK302", "tensor-scale-rank", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def tensor_scale_rank(context: Context) -> Iterator[Fault]:
    """A per-tensor scale is one value, but neither [] nor [1].

    Why it hurts: vLLM takes both of those and asserts on [1, 1]; other readers take [1, 1] for a grid of blocks.

    Example: ``weight_scale`` [1, 1] after a tool kept the dimensions of a reduction.

    Mend: reshape it; the bytes do not change. A conversion does.
    """
    yield from _rank_faults(context, PerTensor)


@rule("CK303", "block-scale-grid", Severity.ERROR)
def block_scale_grid(context: Context) -> Iterator[Fault]:
    """A block or group scale is not the grid that the declared block size gives for its weight.

    Why it hurts: the grid is [ceil(N/rows), ceil(K/columns)], ragged at the edges. With any other, every reader stops
    or shifts scales against their blocks. The block size is taken from the config and never guessed from the shapes:
    192 rows with 2 scales fit 96-row and 128-row blocks alike.

    Example: a weight [576, 7168] in blocks of 128 with a scale [4, 56]: the half block of rows was left out.

    Mend: correct the declared block size if it is wrong, else export again.
    """
    for module, scale, wanted in _mismatches(context):
        granularity = module.scheme.weight.granularity
        blocked = isinstance(granularity, (PerBlock, PerGroup)) and len(scale.shape) != 0
        if blocked and not _is_transposed(scale, wanted) and not _is_four_dimensional(scale, wanted):
            yield _shape_fault("block-scale-grid", module, scale, wanted)


@rule("CK304", "block-grid-transposed", Severity.ERROR)
def block_grid_transposed(context: Context) -> Iterator[Fault]:
    """A block scale's grid is stored transposed.

    Why it hurts: loaders that check the shape stop; those that check the number of values only give each block
    another block's scale. Where N = K the shape shows nothing, and only the full scan's magnitudes can.

    Example: a weight [256, 512] in blocks of 128 with a scale [4, 2].

    Mend: transpose the grid's values.
    """
    for module, scale, wanted in _mismatches(context):
        if isinstance(module.scheme.weight.granularity, PerBlock) and _is_transposed(scale, wanted):
            yield _shape_fault("block-grid-transposed", module, scale, wanted)


@rule("CK305", "block-grid-four-dimensional", Severity.ERROR, fix="safe")
def block_grid_four_dimensional(context: Context) -> Iterator[Fault]:
    """A block scale has ModelOpt's four dimensions where two are expected, or two where ModelOpt's four are.

    Why it hurts: ``FP8_PB_WO`` stores [N/128, 1, K/128, 1]. vLLM's ModelOpt loader fails on a plain grid, every
    other loader fails on four dimensions.

    Example: ``weight_scale`` [2, 1, 4, 1] in a compressed-tensors checkpoint.

    Mend: reshape it; the bytes do not change.
    """
    for module, scale, wanted in _mismatches(context):
        if isinstance(module.scheme.weight.granularity, PerBlock) and _is_four_dimensional(scale, wanted):
            yield _shape_fault("block-grid-dimensions", module, scale, wanted)
    algorithm = str(context.block.get("quant_algo") or "").upper()
    if context.method == "modelopt" and algorithm == "FP8_PB_WO":
        for scale in context.raw_scales.values():
            if len(scale.shape) == 2 and scale.name.endswith(".weight_scale"):
                message = "vLLM squeezes the second and fourth dimension of an FP8_PB_WO scale, and this one has two"
                rows, columns = scale.shape
                found = str(list(scale.shape))
                yield Fault(
                    "block-grid-dimensions", message, scale.shard, scale.name, f"[{rows}, 1, {columns}, 1]", found
                )


@rule("CK306", "scale-granularity", Severity.ERROR)
def scale_granularity(context: Context) -> Iterator[Fault]:
    """A weight scale has another granularity than the config declares.

    Why it hurts: loaders allocate what the config declares and stop at anything else, or broadcast it silently.

    Example: one value for the whole weight where one for each row is declared.

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


@rule("CK307", "weight-transposed", Severity.ERROR)
def weight_transposed(context: Context) -> Iterator[Fault]:
    """A weight is stored [in, out] where the config's sizes say that it must be [out, in].

    Why it hurts: loaders compare the shape and stop, or multiply along the wrong axis where the weight is square.

    Example: ``mlp.down_proj.weight`` [11008, 4096] under ``hidden_size: 4096``.

    Mend: export again; a transposed weight needs its scales transposed too.
    """
    shapes = decoder_shapes(context.dimensions)
    for (kind, shape), weights in context.decoder_weights.items():
        wanted = tuple(extent.size if extent else None for extent in shapes.get(kind, ()))
        # One extent alone may fit by chance; a config with a wrong size is CK312.
        if shape != wanted and shape[::-1] == wanted:
            for weight in weights:
                if is_fp8(weight.dtype) and ".layers." in weight.name:
                    message = "the weight is transposed against the sizes in config.json"
                    expected, found = (str(list(extents)) for extents in (shape[::-1], shape))
                    yield Fault("weight-transposed", message, weight.shard, weight.name, expected, found)


@rule("CK308", "scale-packed", Severity.ERROR)
def scale_packed(context: Context) -> Iterator[Fault]:
    """A scale is stored in a kernel's packed layout instead of as one number for each block.

    Why it hurts: exponents packed four to an integer, in the order of one GEMM backend, are read as numbers or
    rejected by every other backend.

    Example: ``weight_scale_inv`` I32 [7168, 14] as DeepGEMM packs it in memory.

    Mend: export from the unpacked weights again.
    """
    scales = context.checkpoint.scale_tensors() if context.checkpoint else context.raw_scales.values()
    for tensor in scales:
        if tensor.dtype in PACKED_DTYPES:
            message = "an integer type: the layout of one backend's memory, not of a checkpoint"
            yield Fault("scale-packed", message, tensor.shard, tensor.name, "F32, BF16, F16 or F8_E8M0", tensor.dtype)


@rule("CK309", "fused-on-disk-one-scale", Severity.INFO)
def fused_on_disk_one_scale(context: Context) -> Iterator[Fault]:
    """A weight that engines treat as several (qkv_proj, gate_up_proj) is stored as one, with one per-tensor scale.

    Why it hurts: loaders keep one slot for each part. vLLM 0.32 takes the one scale for all of them; older ones left
    the other slots uninitialised, and TensorRT-LLM wants one for each.

    Example: Phi-3's ``qkv_proj.weight`` with ``weight_scale`` [].

    Mend: split the weight and copy the scale, or quantize per channel.
    """
    for module in context.modules:
        last = module.name.rpartition(".")[2]
        fused = last in names.FUSED_QKV or last == "gate_up_proj"
        if fused and isinstance(module.scheme.weight.granularity, PerTensor):
            message = "one scale for a layer that engines load in parts"
            yield Fault("fused-one-scale", message, module.weight.shard, module.weight.name, None, "per-tensor scale")


@rule("CK310", "dimension-not-multiple-of-16", Severity.WARNING)
def dimension_not_multiple_of_16(context: Context) -> Iterator[Fault]:
    """An FP8 weight has a dimension that is no multiple of 16.

    Why it hurts: the FP8 matrix multiplications of CUTLASS and PyTorch read 16 elements at once; there is no other
    path, and the engine stops at the first request.

    Example: a vision MLP of 3,420 rows.

    Mend: leave that layer in BF16 and list it in the skip list.
    """
    for module in context.modules:
        if any(extent % _MULTIPLE for extent in module.weight.shape):
            message = f"no FP8 kernel takes a dimension that is no multiple of {_MULTIPLE}"
            weight = module.weight
            expected = f"multiples of {_MULTIPLE}"
            yield Fault("dimension-16", message, weight.shard, weight.name, expected, str(list(weight.shape)))


@rule("CK311", "input-scale-shape", Severity.ERROR)
def input_scale_shape(context: Context) -> Iterator[Fault]:
    """A static input scale is not one value.

    Why it hurts: static activations have one scale for the whole tensor in every FP8 format here; loaders allocate
    one value.

    Example: ``input_scale`` [64] for a layer of 64 inputs.

    Mend: export again with per-tensor activations.
    """
    for module in context.modules:
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


def _mismatches(context: Context) -> tuple[tuple[QuantizedModule, TensorRef, tuple[tuple[int, ...], ...]], ...]:
    """Modules whose stored scale has none of the shapes that the format's loaders accept."""
    if context.checkpoint is None or context.format is None:
        return ()
    wanted_shapes: dict[tuple[Granularity, tuple[int, ...]], tuple[tuple[int, ...], ...]] = {}
    found = []
    for module in context.modules:
        scale = module.weight_scale
        if scale is None:
            continue
        key = (module.scheme.weight.granularity, module.weight.shape)
        wanted = wanted_shapes.get(key)
        if wanted is None:
            wanted = wanted_shapes[key] = context.format.scale_shapes(*key)
        if scale.shape not in wanted:
            found.append((module, scale, wanted))
    return tuple(found)


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


def _is_transposed(scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> bool:
    return scale.shape[::-1] in wanted


def _is_four_dimensional(scale: TensorRef, wanted: tuple[tuple[int, ...], ...]) -> bool:
    return len(scale.shape) == 4 and scale.shape[1] == scale.shape[3] == 1 and scale.shape[::2] in wanted


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
