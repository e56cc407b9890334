"""Dequantizing: FP8 weights times their scales as plain floats, stripe by stripe.

The product is a float32 one, rounded to the wanted type once, to nearest even: what compressed-tensors' decompression
and transformers' dequantization make of the same tensors.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import DTYPES, SCALE_DTYPES
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup
from ckptkit.model.numbers import numbers, upper_halves, value_of
from ckptkit.operations import compiled
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.storage.payload import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Type of the result -> how far its values may be off: half a step, and half the smallest one.
_LOSSES = {"F32": Loss(2.0**-24, 2.0**-150), "BF16": Loss(2.0**-8, 2.0**-134), "F16": Loss(2.0**-11, 2.0**-25)}
#: Type of the result -> an integer type as wide.
_KINDS = {"F32": "<u4", "BF16": "<u2", "F16": "<u2"}


def promise(inputs: Inputs, parameters: Parameters) -> Promise:
    """Weight [..., N, K] and scale; ``block_shape``: the rows and columns that share a scale, 0 for all of them."""
    if len(inputs) != 2:
        raise OperationError(f"takes a weight and its scale, not {len(inputs)} tensors")
    weight, scale = inputs
    dtype, block = str(parameters.get("dtype")), parameters.get("block_shape")
    if dtype not in _LOSSES:
        raise OperationError(f"makes {', '.join(_LOSSES)}, and not {dtype}")
    if weight.dtype not in DTYPES or not DTYPES[weight.dtype].is_fp8 or len(weight.shape) not in (2, 3):
        raise OperationError(f"takes FP8 weights of two or three axes, not {weight.dtype} {list(weight.shape)}")
    if scale.dtype not in SCALE_DTYPES:
        raise OperationError(f"takes no scale in {scale.dtype}")
    if not isinstance(block, list) or len(block) != 2 or not all(type(n) is int and n >= 0 for n in block):
        raise OperationError("wants the parameter block_shape: rows and columns that share a scale")
    rows, columns = _grid(weight.shape, block)
    wanted = rows * columns * (weight.shape[0] if len(weight.shape) == 3 else 1)
    if scale.numel != wanted:
        shape = list(weight.shape)
        raise OperationError(f"a weight {shape} in blocks of {block} has {wanted} scales, not {scale.numel}")
    return Promise(dtype, weight.shape, _LOSSES[dtype])


def _grid(shape: tuple[int, ...], block: list[int]) -> tuple[int, int]:
    """The scales of one matrix: along its rows and along its columns."""
    rows, columns = (1 if size == 0 else -(-extent // size) for extent, size in zip(shape[-2:], block, strict=True))
    return rows, columns


def rows_needed(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    """A scale's rows are those of its grid, or the experts of a stack."""
    weight, scale = inputs
    height = parameters["block_shape"][0]
    if len(weight.shape) == 3:
        return rows, rows if scale.shape[:1] == weight.shape[:1] else range(scale.shape[0] if scale.shape else 1)
    if height == 0 or not scale.shape or scale.shape[0] != _grid(weight.shape, parameters["block_shape"])[0]:
        return rows, range(scale.shape[0] if scale.shape else 1)
    return rows, range(rows.start // height, -(-rows.stop // height))


def _step(inputs: Inputs, parameters: Parameters) -> int:
    """Stripes of a matrix begin with a row of blocks."""
    return 1 if len(inputs[0].shape) == 3 else max(1, parameters["block_shape"][0])


def block_shape(granularity: Granularity) -> list[int]:
    """The rows and columns of a weight that share a scale, 0 for all of them: a parameter of operations.

    >>> block_shape(PerBlock(128, 64)), block_shape(PerChannel()), block_shape(PerGroup(32))
    ([128, 64], [1, 0], [1, 32])
    """
    if isinstance(granularity, PerBlock):
        return [granularity.rows, granularity.columns]
    if isinstance(granularity, PerGroup):
        return [1, granularity.size]
    return [1, 0] if isinstance(granularity, PerChannel) else [0, 0]


def products(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> NDArray[np.float32]:
    """Some rows [r, K] of a matrix times their scales as float32, which is what is rounded to the wanted type.

    ``pieces`` are the rows' codes and those rows of their scales that the operation needs. What is no number stays.
    """
    import numpy as np

    source = pieces[0].dtype
    codes, grid, block, first = _with_scales(pieces, parameters["block_shape"], rows)
    with np.errstate(over="ignore", invalid="ignore"):
        found = compiled.dequantized(source, codes, grid, block, first, "F32")
        if found is not None:
            return np.frombuffer(found, np.float32).reshape(codes.shape)
        return _product(source, codes, grid, block, first)


def _with_scales(
    pieces: tuple[Piece, ...], block: list[int], rows: range
) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[int], int]:
    """Codes [r, K], the grid of their scales, the block, and the first row's place in the first row of blocks."""
    import numpy as np

    weight, scale = pieces
    codes = np.frombuffer(weight.data, np.uint8).reshape(weight.shape)
    values = numbers(scale.dtype, scale.data).astype(np.float32)
    first = rows.start - scale.first_row * block[0] if block[0] else 0
    return codes, values.reshape(-1, _grid(weight.shape, block)[1]), block, first


def _compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> Data:
    import numpy as np

    weight, scale = pieces
    block, dtype = parameters["block_shape"], str(parameters["dtype"])
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused
        if len(weight.shape) == 3:
            codes = np.frombuffer(weight.data, np.uint8).reshape(weight.shape)
            values = numbers(scale.dtype, scale.data).astype(np.float32)
            grids = values.reshape(-1, *_grid(weight.shape, block))
            pairs = zip(codes, grids, strict=True)
            return b"".join([_made(weight.dtype, part, grid, block, 0, dtype) for part, grid in pairs])
        return _made(weight.dtype, *_with_scales(pieces, block, rows), dtype)


#: How many elements have to share a scale, for every code's product to be worked out once and looked up.
_WORTH = 1024
#: Codes that are looked up at a time: numpy makes indices of 8 bytes of them.
_TAKEN = 1 << 15
#: The most scales of one table: a code and the number of its scale then fit 16 bits.
_MOST_SCALES = 255


def _made(
    source: str, codes: NDArray[np.uint8], grid: NDArray[np.float32], block: list[int], first: int, dtype: str
) -> Data:
    """Codes [r, K] times their scales in another type; ``first``: the first row's place in the first row of blocks."""
    height, width = block
    compiled_result = compiled.dequantized(source, codes, grid, block, first, dtype)
    if compiled_result is not None:
        return compiled_result
    shared = (height or len(codes)) * (width or codes.shape[1])
    if shared >= _WORTH and not _has_nan(codes, DTYPES[source].nan_codes):
        found = _looked_up(source, codes, grid, block, first, dtype)
        if found is not None:
            return found
    return rounded(_product(source, codes, grid, block, first), dtype)


def _has_nan(codes: NDArray[np.uint8], nan_codes: frozenset[int]) -> bool:
    if nan_codes == {0x7F, 0xFF}:  # the largest magnitude, found three times as fast
        return bool((codes & 0x7F).max(initial=0) == 0x7F)
    return any((codes == code).any() for code in nan_codes)


def _looked_up(
    source: str, codes: NDArray[np.uint8], grid: NDArray[np.float32], block: list[int], first: int, dtype: str
) -> Data | None:
    """The same by a table of all products for each scale; None where some product is no number, or scales are many."""
    import numpy as np

    height, width = block
    if grid.shape[1] > _MOST_SCALES:
        return None
    table = _table(source)
    good = np.isfinite(table)
    found = np.empty(codes.shape, _KINDS[dtype])
    lines = max(1, _TAKEN // codes.shape[1])
    start = 0
    while start < len(codes):
        if height == 1 and width == 0 and len(grid) > 1:  # a scale for each row
            stop = min(len(codes), start + _MOST_SCALES)
            scales, offsets = grid[first + start : first + stop, 0], np.arange(stop - start, dtype=np.uint16)[:, None]
        else:
            whole = height == 0 or len(grid) == 1
            number = 0 if whole else (first + start) // height
            stop = len(codes) if whole else min(len(codes), (number + 1) * height - first)
            scales, columns = grid[number], codes.shape[1]
            offsets = np.repeat(np.arange(len(scales), dtype=np.uint16), width or columns)[:columns]
        products = table[None, :] * scales[:, None]
        try:
            made = np.frombuffer(rounded(np.where(good, products, np.float32(0)), dtype), _KINDS[dtype])
        except OperationError:
            return None
        for begin in range(start, stop, lines):
            band = codes[begin : min(stop, begin + lines)]
            if len(scales) > 1:
                own = offsets if offsets.ndim == 1 else offsets[begin - start : begin - start + len(band)]
                band = band + (own << 8)
            np.take(made, band, out=found[begin : begin + len(band)], mode="clip")
        start = stop
    return found.data.cast("B")


def _product(
    dtype: str, codes: NDArray[np.uint8], grid: NDArray[np.float32], block: list[int], first: int
) -> NDArray[np.float32]:
    """Codes [r, K] times their scales; ``first`` is the first row's place in the first row of blocks."""
    import numpy as np

    height, width = block
    found: NDArray[np.float32] = np.empty(codes.shape, np.float32)
    source, target = codes.reshape(-1), found.reshape(-1)
    for begin in range(0, source.size, _TAKEN):
        part = slice(begin, begin + _TAKEN)
        np.take(_table(dtype), source[part], out=target[part], mode="clip")
    if width:
        grid = np.repeat(grid, width, axis=1)[:, : codes.shape[1]]
    if height == 0 or len(grid) == 1:
        found *= grid[:1]
    elif height == 1:
        found *= grid[first : first + len(codes)]
    else:
        start = 0
        for row in grid:
            stop = min(len(codes), start + height - (first if start == 0 else 0))
            found[start:stop] *= row
            start = stop
    return found


def rounded(values: NDArray[np.float32], dtype: str) -> bytes:
    """Values in another type, to nearest even. Raises OperationError for what is no number, or becomes none."""
    import numpy as np

    if dtype == "F32":
        found: NDArray[Any] = values.astype("<f4", copy=False)
        finite = np.isfinite(values)
    elif dtype == "F16":
        found = values.astype("<f2")
        finite = np.isfinite(found)
    else:
        found = upper_halves(values)
        finite = (found & 0x7F80) != 0x7F80
    if not finite.all():
        place = tuple(int(n) for n in np.argwhere(~finite)[0])
        more = "; BF16 and F32 hold it" if dtype == "F16" and np.isfinite(values[place]) else ""
        what = "is no number" if np.isnan(values[place]) else f"is more than {dtype} holds: {values[place]:g}{more}"
        raise OperationError(f"the element at {list(place)} of a stripe {what}")
    return found.tobytes()


@cache
def _table(dtype: str) -> Any:
    import numpy as np

    return np.array([value_of(dtype, code) for code in range(256)], np.float32)


OPERATIONS = (
    Operation("dequantize", "FP8 codes times their scales as plain floats", promise, _compute, rows_needed, _step),
)
