"""One scale for many: every element of a tensor several times over, in a wider element type where that is exact."""

from __future__ import annotations

from ckptkit.dtypes import BITS
from ckptkit.operations.cast import cast_bytes, exact_cast
from ckptkit.operations.operation import Inputs, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.storage.payload import count


def _promise(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1:
        raise OperationError(f"takes one tensor, not {len(inputs)}")
    try:
        dtype, shape = str(parameters["dtype"]), tuple(int(extent) for extent in parameters["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise OperationError("wants the parameters dtype and shape") from error
    if exact_cast(inputs[0].dtype, frozenset({dtype})) != dtype:
        raise OperationError(f"there is no exact cast from {inputs[0].dtype} to {dtype}")
    if inputs[0].numel == 0 or count(shape) % inputs[0].numel:
        raise OperationError(f"{inputs[0].numel} elements do not fill {list(shape)} evenly")
    return Promise(dtype, shape)


def _compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    piece, dtype = pieces[0], str(parameters["dtype"])
    data = piece.data if piece.dtype == dtype else cast_bytes(piece.data, piece.dtype, dtype)
    width = BITS[dtype] // 8
    times = count(tuple(parameters["shape"])) * width // len(data)
    return b"".join([data[at : at + width] * times for at in range(0, len(data), width)])


OPERATIONS = (Operation("repeat", "each value several times in a row", _promise, _compute, streams=False),)
