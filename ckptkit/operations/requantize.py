"""Requantizing: FP8 codes under other scales, by the float32 products of the old ones, stripe by stripe.

The values are those that dequantizing gives; scales and codes are made of them as quantizing makes them of a plain
float32 weight. What was exact before is rounded once more, which is why nobody gets this without asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ckptkit.operations import dequantize, quantize
from ckptkit.operations.operation import Inputs, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.storage.payload import Computed, Data, TensorRef, count, size_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PRODUCT = "F32"


def parameters(arithmetic: quantize.Arithmetic, scale: TensorRef, source: list[int], target: list[int]) -> Parameters:
    """The parameters of all operations here.

    ``source`` and ``target``: the rows and columns that share an old and a new scale, 0 for all of them. Scales that
    the arithmetic stores in the weight's type get that of the old ``scale``, where it is such a type.
    """
    dtype = scale.dtype if scale.dtype in quantize.SOURCES else _PRODUCT
    made = arithmetic.parameters(dtype, target)
    return {**made, "quotient_dtype": _PRODUCT, "source_block_shape": source}


def _source(given: Parameters) -> Parameters:
    """The parameters of dequantizing."""
    return {"dtype": _PRODUCT, "block_shape": given.get("source_block_shape")}


def _products(inputs: Inputs, given: Parameters) -> Inputs:
    """The plain weight that quantizing would take: it is nowhere."""
    made = dequantize.promise(inputs, _source(given))
    shape = made.shape or ()
    return (TensorRef(inputs[0].name, _PRODUCT, shape, inputs[0].shard, 0, size_of(_PRODUCT, shape)),)


def _promise_codes(inputs: Inputs, given: Parameters) -> Promise:
    return quantize.promise_codes(_products(inputs, given), given)


def _promise_scales(inputs: Inputs, given: Parameters) -> Promise:
    return quantize.promise_scales(_products(inputs, given), given)


def _promise_magnitudes(inputs: Inputs, given: Parameters) -> Promise:
    (product,) = _products(inputs, given)
    if len(product.shape) != 2:
        raise OperationError("takes one matrix")
    return Promise("F32", product.shape[:1])


def _step(inputs: Inputs, given: Parameters) -> int:
    """Stripes of a matrix hold whole new blocks, and begin with a row of old ones only by chance."""
    return quantize.step(_products(inputs, given), given)


def _rows_of_codes(inputs: Inputs, given: Parameters, rows: range) -> tuple[range, ...]:
    return dequantize.rows_needed(inputs, _source(given), rows)


def _rows_of_scales(inputs: Inputs, given: Parameters, rows: range) -> tuple[range, ...]:
    (own,) = quantize.rows_of_scales(_products(inputs, given), given, rows)
    return dequantize.rows_needed(inputs, _source(given), own)


def _scales_first(inputs: Inputs, given: Parameters) -> Computed | None:
    if given["block_shape"][0]:
        return None
    return Computed("requantization-scale", inputs, given, str(given["scale_dtype"]), (1,))


def _magnitudes_first(inputs: Inputs, given: Parameters) -> Computed | None:
    if given["block_shape"][0]:
        return None
    return Computed("largest-products", inputs, given, "F32", inputs[0].shape[:1])


def _matrices(pieces: tuple[Piece, ...], given: Parameters) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    """The products of a stripe as float32 bits: one matrix, or one for each expert of a stack."""
    import numpy as np

    weight, scale = pieces[:2]
    for part, own in _experts(weight, scale) if len(weight.shape) == 3 else ((weight, scale),):
        rows = range(part.first_row, part.first_row + part.shape[0])
        yield np.ascontiguousarray(dequantize.products((part, own), _source(given), rows)).view("<u4")


def _experts(weight: Piece, scale: Piece) -> Iterator[tuple[Piece, Piece]]:
    experts, *shape = weight.shape
    size, own = len(weight.data) // experts, len(scale.data) // experts
    elements = count(scale.shape) // experts
    for expert in range(experts):
        codes = weight.data[expert * size : (expert + 1) * size]
        scales = scale.data[expert * own : (expert + 1) * own]
        yield Piece(weight.dtype, tuple(shape), codes, 0), Piece(scale.dtype, (elements,), scales, 0)


def _compute_codes(pieces: tuple[Piece, ...], given: Parameters, rows: range) -> tuple[Data, bytes]:
    """Codes, and the scales that a stripe of them gives by the way."""
    before = pieces[2:]
    codes, scales = [], []
    for matrix in _matrices(pieces, given):
        if before:
            grid = quantize.stored_grid(before[0])
        else:
            grid = quantize.scales_of(quantize.magnitudes_of(matrix, _PRODUCT, given["block_shape"]), given)
            scales.append(quantize.stored(grid, str(given["scale_dtype"])))
        codes.append(quantize.codes_of(matrix, _PRODUCT, grid, given))
    return codes[0] if len(codes) == 1 else b"".join(codes), b"".join(scales)


def _compute_scales(pieces: tuple[Piece, ...], given: Parameters, rows: range) -> bytes:
    dtype, before = str(given["scale_dtype"]), pieces[2:]
    if before:
        return quantize.stored(quantize.scales_of(quantize.largest(before[0]), given), dtype)
    block = given["block_shape"]
    found = (quantize.magnitudes_of(matrix, _PRODUCT, block) for matrix in _matrices(pieces, given))
    return b"".join([quantize.stored(quantize.scales_of(grid, given), dtype) for grid in found])


def _compute_magnitudes(pieces: tuple[Piece, ...], given: Parameters, rows: range) -> bytes:
    return b"".join([quantize.magnitudes_of(m, _PRODUCT, [1, 0]).tobytes() for m in _matrices(pieces, given)])


OPERATIONS = (
    Operation(
        "requantize",
        "FP8 codes under other scales",
        _promise_codes,
        rows_needed=_rows_of_codes,
        step=_step,
        first=_scales_first,
        beside="requantization-scale",
        compute_beside=_compute_codes,
    ),
    Operation(
        "requantization-scale",
        "the scale that FP8 codes take under other blocks",
        _promise_scales,
        _compute_scales,
        _rows_of_scales,
        surveys=True,
        first=_magnitudes_first,
    ),
    Operation(
        "largest-products",
        "the largest magnitude of each row of codes times their scales",
        _promise_magnitudes,
        _compute_magnitudes,
        _rows_of_codes,
    ),
)
