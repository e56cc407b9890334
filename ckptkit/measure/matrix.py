"""Stored weights as float32 numbers, some rows at a time: FP8 codes times their scales, or plain floats.

A weight of any number of axes is a few matrices: one, whose rows are all its axes but the last, or one for each expert
of a stack in FP8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckptkit.model.numbers import FLOAT32_HOLDS, floats
from ckptkit.operations import dequantize
from ckptkit.operations.operation import OperationError
from ckptkit.operations.stream import piece_of
from ckptkit.operations.table import operation
from ckptkit.storage.payload import TensorRef, count
from ckptkit.storage.source import Source

if TYPE_CHECKING:
    from ckptkit.measure.errors import Codes, Floats
    from ckptkit.model.granularity import Granularity


class Matrix(NamedTuple):
    """``rows`` rows of a stored matrix [N, K] from ``first`` on; ``scale`` is None where it is not quantized.

    ``block`` says how many rows and columns share a scale, 0 for all of them.
    """

    weight: TensorRef
    scale: TensorRef | None
    block: tuple[int, int]
    first: int
    rows: int

    def part(self, first: int, rows: int) -> Matrix:
        """Some of these rows."""
        return self._replace(first=self.first + first, rows=rows)

    def read(self, source: Source, rows: range) -> tuple[Floats, Codes | None]:
        """The numbers of some of these rows [r, K], and their codes where they are FP8."""
        import numpy as np

        wanted = range(self.first + rows.start, self.first + rows.stop)
        if self.scale is None:
            piece = piece_of(source, self.weight, wanted)
            return floats(piece.dtype, piece.data).reshape(piece.shape), None
        inputs, parameters = (self.weight, self.scale), {"block_shape": list(self.block)}
        needed = operation("dequantize").rows_needed(inputs, parameters, wanted)
        pieces = tuple(piece_of(source, tensor, own) for tensor, own in zip(inputs, needed, strict=True))
        codes = np.frombuffer(pieces[0].data, np.uint8).reshape(pieces[0].shape)
        return dequantize.products(pieces, parameters, wanted), codes


def plain_matrices(weight: TensorRef, *, stacked: bool = False) -> tuple[Matrix, ...]:
    """A tensor that is not quantized as matrices; ``stacked``: one for each index of the first of three axes.

    Raises OperationError for a type that is no float, or that float32 does not hold.
    """
    if weight.dtype not in FLOAT32_HOLDS:
        raise OperationError(f"{weight.dtype} holds no numbers that float32 holds")
    if stacked and len(weight.shape) == 3:
        return tuple(Matrix(part, None, (0, 0), 0, part.shape[0]) for part in _experts(weight, weight.shape[0]))
    columns = weight.shape[-1] if weight.shape else 1
    rows = count(weight.shape[:-1])
    return (Matrix(weight._replace(shape=(rows, columns)), None, (0, 0), 0, rows),)


def fp8_matrices(weight: TensorRef, scale: TensorRef | None, granularity: Granularity) -> tuple[Matrix, ...]:
    """An FP8 weight [N, K] or a stack [E, N, K] as matrices. Raises OperationError where its scale does not fit it."""
    if scale is None:
        raise OperationError("the scale of the weight is missing")
    block = dequantize.block_shape(granularity)
    operation("dequantize").promise((weight, scale), {"dtype": "F32", "block_shape": block})
    if len(weight.shape) == 2:
        return (Matrix(weight, scale, (block[0], block[1]), 0, weight.shape[0]),)
    experts = weight.shape[0]
    pairs = zip(_experts(weight, experts), _experts(scale, experts), strict=True)
    return tuple(Matrix(part, own, (block[0], block[1]), 0, part.shape[0]) for part, own in pairs)


def _experts(tensor: TensorRef, experts: int) -> tuple[TensorRef, ...]:
    """The parts of a tensor that belong to one expert each."""
    shape = tensor.shape[1:] if tensor.shape[:1] == (experts,) else (tensor.numel // experts,)
    size = tensor.nbytes // experts if experts else 0
    return tuple(
        tensor._replace(shape=shape, start=tensor.start + index * size, nbytes=size) for index in range(experts)
    )
