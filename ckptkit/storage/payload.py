"""What a tensor is on disk, and where bytes to be written come from: all of it data that can be printed and sent.

A :class:`TensorRef` is a name, a dtype, a shape and a byte range of a shard: no bytes. A payload is a byte range of a
source file, inline bytes, or bytes that an operation computes from stored tensors. The cost of a conversion is read off
the payloads before anything moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ckptkit.dtypes import BITS
from ckptkit.record import record

if TYPE_CHECKING:
    from ckptkit.storage.source import Source


class TensorRef(NamedTuple):
    """A stored tensor: ``nbytes`` bytes at absolute offset ``start`` of the file ``shard``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str
    start: int
    nbytes: int

    @property
    def module(self) -> str:
        """The owner: the name without its last part."""
        return self.name.rpartition(".")[0]

    @property
    def stop(self) -> int:
        """The absolute offset of the first byte after the tensor."""
        return self.start + self.nbytes

    @property
    def numel(self) -> int:
        """The number of elements."""
        return count(self.shape)


#: A TensorRef from the tuple of its fields. Half the time of a call to the class: the header reader's inner loop.
tensor_ref: Callable[[tuple[str, str, tuple[int, ...], str, int, int]], TensorRef] = partial(tuple.__new__, TensorRef)


class ByteRange(NamedTuple):
    """``nbytes`` bytes at absolute offset ``start`` of the source file ``file``, copied as they are."""

    file: str
    start: int
    nbytes: int


@record
class Inline:
    """Bytes that the plan itself carries: headers, JSON, new scalars."""

    data: bytes

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return len(self.data)


class Computed(NamedTuple):
    """Bytes that an operation makes from stored tensors: the only payload that costs more than a copy.

    What ``operation`` names is looked up when the bytes are wanted, so that a payload can be sent to another process.
    """

    operation: str
    inputs: tuple[TensorRef, ...]
    parameters: Mapping[str, Any]
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return size_of(self.dtype, self.shape)


Payload: TypeAlias = ByteRange | Inline | Computed
#: Bytes as whoever made them has them: a view of an array need not be copied to be written.
Data: TypeAlias = bytes | memoryview


class Stream(Protocol):
    """How computed bytes are made: the bytes ``begin`` to ``end`` of a payload, in order, in pieces of bounded size."""

    def __call__(self, payload: Computed, source: Source, begin: int, end: int) -> Iterator[Data]:
        """Make the bytes."""


#: The number of elements of a shape.
count: Callable[[tuple[int, ...]], int] = prod


def same_count(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes have as many elements as each other."""
    return one == other or count(one) == count(other)


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """The bytes of a tensor; elements of less than a byte are packed."""
    bits = BITS[dtype]
    for extent in shape:
        bits *= extent
    return -(-bits // 8)
