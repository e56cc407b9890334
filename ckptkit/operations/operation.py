"""What an operation is: a name, what it promises of its result, and a function that keeps the promise stripe by stripe.

Results are made in stripes of rows (the first axis of the output), so that a tensor of any size passes through a few
megabytes. An operation says which rows of its inputs a stripe needs; reading them, cutting and writing is done for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from ckptkit.record import record
from ckptkit.storage.payload import Computed, Data, TensorRef

Inputs: TypeAlias = tuple[TensorRef, ...]
#: JSON values by name.
Parameters: TypeAlias = Mapping[str, Any]


class OperationError(ValueError):
    """An operation cannot be done to these inputs; the message says why. The caller knows the tensor's name."""


@record
class Loss:
    """How far a value may be from the exact one: ``|value - exact| <= relative * |exact| + absolute``.

    For a weight, values are the dequantized ones. ``share`` is a further absolute part that the plan cannot know, as a
    share of the largest magnitude that has the same scale.
    """

    relative: float
    absolute: float = 0.0
    share: float = 0.0

    def __add__(self, other: Loss) -> Loss:
        """The loss of a product of two values that each have one, to first order and rounded up."""
        relative = self.relative + other.relative + self.relative * other.relative
        return Loss(relative, self.absolute + other.absolute, self.share + other.share)

    def __str__(self) -> str:
        parts = [f"{self.relative:.2g} of the value"] if self.relative else []
        parts += [f"{self.absolute:.2g}"] if self.absolute else []
        parts += [f"{self.share:.2g} of the largest that has the same scale"] if self.share else []
        return f"within {' plus '.join(parts)}" if parts else "exact"


@record
class Promise:
    """What the result will be.

    ``shape`` is None where any shape of as many elements as the first input has will do: values stay in their order.
    ``loss`` is None for an exact operation: every value of the result is the mathematical one.
    """

    dtype: str
    shape: tuple[int, ...] | None
    loss: Loss | None = None


class Piece(NamedTuple):
    """Some rows of an input: its dtype, the shape of these rows, their bytes, and the number of the first row.

    Inputs without axes, and those of which an operation wants everything, come whole, with first row 0.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    first_row: int


def same_rows(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    """The rows of inputs that have as many rows as the output: element by element."""
    return (rows,) * len(inputs)


def one_row(inputs: Inputs, parameters: Parameters) -> int:
    """Stripes may have any number of rows."""
    return 1


def nothing_first(inputs: Inputs, parameters: Parameters) -> Computed | None:
    """A stripe needs its rows of the inputs, and nothing else."""
    return None


@record
class Operation:
    """An entry of the table of operations.

    ``promise`` says what the result of given inputs and parameters is, or raises OperationError. ``compute`` makes the
    bytes of some rows of the result; it is None for operations that leave bytes as they are stored. ``rows_needed``
    says which rows of each input that takes, ``step`` a number of rows that every stripe but the last is a multiple of.
    ``streams`` is False for an operation that has to see everything at once.

    ``surveys`` says that it looks at all of a tensor for a few numbers: another tensor, and no cheap one to read.
    ``first`` names a small payload that has to be made of the inputs before the first stripe, and is the last piece of
    every one. ``compute_beside`` stands in for ``compute`` where a pass has two results: what it returns second is, all
    stripes together, what the operation ``beside`` would make of the same inputs and parameters, or nothing.
    """

    name: str
    summary: str
    promise: Callable[[Inputs, Parameters], Promise]
    compute: Callable[[tuple[Piece, ...], Parameters, range], Data] | None = None
    rows_needed: Callable[[Inputs, Parameters, range], tuple[range, ...]] = same_rows
    step: Callable[[Inputs, Parameters], int] = one_row
    streams: bool = True
    surveys: bool = False
    first: Callable[[Inputs, Parameters], Computed | None] = nothing_first
    beside: str | None = None
    compute_beside: Callable[[tuple[Piece, ...], Parameters, range], tuple[Data, bytes]] | None = None
