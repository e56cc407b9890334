"""Stored weights as float32 numbers, some rows at a time: codes times their scales, or plain floats.

A weight of any number of axes is a few matrices: one, whose rows are all its axes but the last, or one for each expert
of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.model.numbers import FLOAT32_HOLDS, floats
from ckptkit.operations import dequantize, mx, nvfp4
from ckptkit.operations.operation import Inputs, OperationError, Parameters, Piece
from ckptkit.operations.stream import piece_of
from ckptkit.operations.table import operation
from ckptkit.storage.payload import TensorRef, count
from ckptkit.storage.source import Source

if TYPE_CHECKING:
    from ckptkit.measure.errors import Codes, Floats
    from ckptkit.model.granularity import Granularity

_Products = Callable[[tuple[Piece, ...], Parameters, range], "Floats"]
#: Operations that make plain floats of weights, and the products that they round.
_PRODUCTS: Mapping[str, _Products] = MappingProxyType(
    {
        "dequantize": dequantize.products,
        "mx-dequantize": mx.products,
        "nvfp4-dequantize": nvfp4.products,
    }
)
_FP8 = "dequantize"
_NONE: Parameters = MappingProxyType({})


class Matrix(NamedTuple):
    """``rows`` rows of a stored matrix [N, K] from ``first`` on.

    ``inputs`` are its stored tensors, the weight first; ``how`` is the operation that makes plain floats of them with
    ``parameters``, None where they are plain. A ``turned`` one is stored as [K, N], and read as a whole for any rows.
    """

    inputs: Inputs
    how: str | None
    parameters: Parameters
    columns: int
    first: int
    rows: int
    turned: bool = False

    @property
    def weight(self) -> TensorRef:
        """The stored elements."""
        return self.inputs[0]

    @property
    def scale(self) -> TensorRef | None:
        """The scale of FP8 codes; None of anything else."""
        return self.inputs[1] if self.how == _FP8 else None

    def part(self, first: int, rows: int) -> Matrix:
        """Some of these rows."""
        return self._replace(first=self.first + first, rows=rows)

    def read(self, source: Source, rows: range) -> tuple[Floats, Codes | None]:
        """The numbers of some of these rows [r, K], and their codes where they are FP8."""
        import numpy as np

        wanted = range(self.first + rows.start, self.first + rows.stop)
        if self.how is None:
            stored = range(self.weight.shape[0]) if self.turned else wanted
            piece = piece_of(source, self.weight, stored)
            values = floats(piece.dtype, piece.data).reshape(piece.shape)
            return np.ascontiguousarray(values.T[wanted.start : wanted.stop]) if self.turned else values, None
        needed = operation(self.how).rows_needed(self.inputs, self.parameters, wanted)
        pieces = tuple(piece_of(source, tensor, own) for tensor, own in zip(self.inputs, needed, strict=True))
        found = _PRODUCTS[self.how](pieces, self.parameters, wanted)
        if self.how != _FP8:
            return found, None
        return found, np.frombuffer(pieces[0].data, np.uint8).reshape(pieces[0].shape)


def plain_matrices(weight: TensorRef, *, stacked: bool = False, turned: bool = False) -> tuple[Matrix, ...]:
    """A tensor that is not quantized as matrices; ``stacked``: one for each index of the first of three axes.

    ``turned``: those of the stack are [K, N]. Raises OperationError for a type that is no float, or that float32 does
    not hold.
    """
    if weight.dtype not in FLOAT32_HOLDS:
        raise OperationError(f"{weight.dtype} holds no numbers that float32 holds")
    if stacked and len(weight.shape) == 3:
        rows, columns = weight.shape[:0:-1] if turned else weight.shape[1:]
        parts = _experts(weight, weight.shape[0])
        return tuple(Matrix((part,), None, _NONE, columns, 0, rows, turned) for part in parts)
    columns = weight.shape[-1] if weight.shape else 1
    rows = count(weight.shape[:-1])
    return (Matrix((weight._replace(shape=(rows, columns)),), None, _NONE, columns, 0, rows),)


def fp8_matrices(weight: TensorRef, scale: TensorRef | None, granularity: Granularity) -> tuple[Matrix, ...]:
    """An FP8 weight [N, K] or a stack [E, N, K] as matrices. Raises OperationError where its scale does not fit it."""
    if scale is None:
        raise OperationError("the scale of the weight is missing")
    return made_matrices(_FP8, (weight, scale), {"dtype": "F32", "block_shape": dequantize.block_shape(granularity)})


def made_matrices(how: str, inputs: Inputs, parameters: Parameters) -> tuple[Matrix, ...]:
    """What an operation makes plain floats of, [N, K] or a stack [E, N, K], as matrices.

    Raises OperationError where it cannot.
    """
    *stack, rows, columns = operation(how).promise(inputs, parameters).shape or inputs[0].shape
    if not stack:
        return (Matrix(inputs, how, parameters, columns, 0, rows),)
    (experts,) = stack
    parts = zip(*(_experts(t, experts) if t.numel > 1 else (t,) * experts for t in inputs), strict=True)
    return tuple(Matrix(part, how, parameters, columns, 0, rows) for part in parts)


def _experts(tensor: TensorRef, experts: int) -> tuple[TensorRef, ...]:
    """The parts of a tensor that belong to one expert each."""
    shape = tensor.shape[1:] if tensor.shape[:1] == (experts,) else (tensor.numel // experts,)
    size = tensor.nbytes // experts if experts else 0
    return tuple(
        tensor._replace(shape=shape, start=tensor.start + index * size, nbytes=size) for index in range(experts)
    )
