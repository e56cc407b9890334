"""What a tensor is on disk, and where the bytes of an output tensor come from.

A :class:`TensorRef` is a name, a dtype, a shape and a byte range of a shard: no bytes. An output tensor has a
payload: a byte range of a source file, inline bytes, or bytes computed from ranges. The cost of a conversion is
read off the payloads before anything moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias


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
        count = 1
        for extent in self.shape:
            count *= extent
        return count


#: A TensorRef from the tuple of its fields. Half the time of a call to the class: the header reader's inner loop.
tensor_ref: Callable[[tuple[str, str, tuple[int, ...], str, int, int]], TensorRef] = partial(tuple.__new__, TensorRef)


class ByteRange(NamedTuple):
    """``nbytes`` bytes at absolute offset ``start`` of the source file ``file``, copied as they are."""

    file: str
    start: int
    nbytes: int


@dataclass(frozen=True)
class Inline:
    """Bytes that the plan itself carries: headers, JSON, new scalars."""

    data: bytes

    @property
    def nbytes(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Computed:
    """Bytes that ``compute`` makes from source ranges; the only payload that costs more than a copy."""

    inputs: tuple[ByteRange, ...]
    nbytes: int
    compute: Callable[[tuple[bytes, ...]], bytes]
    description: str


Payload: TypeAlias = ByteRange | Inline | Computed


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of an output shard, with its promised dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    payload: Payload

    @property
    def nbytes(self) -> int:
        return self.payload.nbytes


@dataclass(frozen=True)
class OutputShard:
    """A safetensors file to be written: tensors in data order."""

    file: str
    tensors: tuple[OutputTensor, ...]
    metadata: dict[str, str] | None

    @property
    def data_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True)
class OutputFile:
    """Any other file to be written: config, index, or a side file carried over byte for byte."""

    file: str
    payload: ByteRange | Inline


@dataclass(frozen=True)
class VirtualContainer:
    """A whole checkpoint folder that does not exist yet."""

    shards: tuple[OutputShard, ...]
    files: tuple[OutputFile, ...]
