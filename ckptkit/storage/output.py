"""A checkpoint folder that does not exist yet: every file of it, every tensor with the operation that makes it.

All of it is data. A file is a job for one worker, in this process or another, and goes to JSON and back unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from ckptkit.record import record
from ckptkit.storage.header import build_header
from ckptkit.storage.payload import ByteRange, Computed, Inline, Payload, TensorRef, size_of

#: Operations whose result has the bytes of their last input as they are stored; what changes is name, shape or shard.
AS_STORED = frozenset({"keep", "rename", "reshape", "duplicate", "take"})
#: The operation whose result is the bytes that its parameter ``hex`` spells.
CONSTANT = "constant"
#: The operation whose result is a run of its input's elements, ``shape`` of them from number ``first`` on.
SLICE = "slice"
#: The operation whose result is its inputs one after the other.
CONCAT = "concat"

_NONE: Mapping[str, Any] = {}


class OutputTensor(NamedTuple):
    """A tensor to be written: which operation makes it of which stored tensors, and what it is then.

    ``operation`` is an entry of the table of operations, ``parameters`` are JSON values, ``reason`` is for people.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    operation: str
    inputs: tuple[TensorRef, ...]
    parameters: Mapping[str, Any] = _NONE
    reason: str = ""

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return self.inputs[-1].nbytes if self.operation in AS_STORED else size_of(self.dtype, self.shape)

    @property
    def source(self) -> TensorRef:
        """The first input: where the tensor comes from, and by default the shard it goes to."""
        return self.inputs[0]

    @property
    def payload(self) -> Payload:
        """Where the bytes come from, of a tensor whose bytes come from one place."""
        if self.operation in AS_STORED:
            source = self.inputs[-1]
            return ByteRange(source.shard, source.start, source.nbytes)
        if self.operation == SLICE:
            source = self.inputs[0]
            start = source.start + size_of(self.dtype, (self.parameters["first"],))
            return ByteRange(source.shard, start, self.nbytes)
        if self.operation == CONSTANT:
            return Inline(bytes.fromhex(self.parameters["hex"]))
        return Computed(self.operation, self.inputs, self.parameters, self.dtype, self.shape)

    @property
    def payloads(self) -> tuple[Payload, ...]:
        """Where the bytes come from, in order."""
        if self.operation == CONCAT:
            return tuple(ByteRange(source.shard, source.start, source.nbytes) for source in self.inputs)
        return (self.payload,)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; :meth:`from_json` makes the same tensor of it."""
        document: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "operation": self.operation,
            "inputs": [_tensor_to_json(tensor) for tensor in self.inputs],
        }
        if self.parameters:
            document["parameters"] = dict(self.parameters)
        if self.reason:
            document["reason"] = self.reason
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> OutputTensor:
        """The tensor that :meth:`to_json` describes."""
        return cls(
            document["name"],
            document["dtype"],
            tuple(document["shape"]),
            document["operation"],
            tuple(_tensor_from_json(item) for item in document["inputs"]),
            document.get("parameters", _NONE),
            document.get("reason", ""),
        )


#: An OutputTensor from the tuple of all its fields. Half the time of a call to the class, as for a TensorRef.
output_tensor: Callable[
    [tuple[str, str, tuple[int, ...], str, tuple[TensorRef, ...], Mapping[str, Any], str]], OutputTensor
] = partial(tuple.__new__, OutputTensor)


class Drop(NamedTuple):
    """A stored tensor that is not written, and why no number is lost by it."""

    source: TensorRef
    reason: str


@record
class OutputShard:
    """A safetensors file to be written: tensors in data order."""

    file: str
    tensors: tuple[OutputTensor, ...]
    metadata: dict[str, str] | None

    @cached_property
    def data_bytes(self) -> int:
        """The size of the data section."""
        return sum(self.sizes)

    @cached_property
    def sizes(self) -> list[int]:
        """The bytes of each tensor: its ``nbytes``, without a call for each."""
        return [
            inputs[-1].nbytes if what in AS_STORED else size_of(dtype, shape)
            for _, dtype, shape, what, inputs, _, _ in self.tensors
        ]

    @cached_property
    def header(self) -> bytes:
        """Everything before the data section, padded so that the data can share blocks with the source's."""
        ranges = (tensor.inputs[-1].start for tensor in self.tensors if tensor.operation in AS_STORED)
        names, dtypes, shapes = (map(itemgetter(field), self.tensors) for field in range(3))
        entries = zip(names, dtypes, shapes, self.sizes, strict=True)
        return build_header(entries, self.metadata, congruent_to=next(ranges, None))

    @cached_property
    def payloads(self) -> tuple[Payload, ...]:
        """What the file consists of, from front to back, ranges that follow each other joined."""
        return (Inline(self.header), *coalesce(_ranges_first(self.tensors)))

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return len(self.header) + self.data_bytes

    def to_json(self) -> dict[str, Any]:
        """A JSON object; :func:`job_from_json` makes the same shard of it."""
        return {
            "file": self.file,
            "size": self.size,
            "metadata": self.metadata,
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }


@record
class OutputFile:
    """Any other file to be written: config, index, or a side file carried over byte for byte."""

    file: str
    payload: ByteRange | Inline

    @property
    def payloads(self) -> tuple[Payload, ...]:
        """What the file consists of."""
        return (self.payload,)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.payload.nbytes

    def to_json(self) -> dict[str, Any]:
        """A JSON object; :func:`job_from_json` makes the same file of it."""
        document: dict[str, Any] = {"file": self.file, "size": self.size}
        if isinstance(self.payload, ByteRange):
            return {**document, "copy": self.payload._asdict()}
        try:
            return {**document, "text": self.payload.data.decode("utf-8")}
        except UnicodeDecodeError:
            import base64

            return {**document, "base64": base64.b64encode(self.payload.data).decode("ascii")}


#: What one worker does: one file of the output, from front to back.
Job: TypeAlias = OutputShard | OutputFile


def job_from_json(document: Mapping[str, Any]) -> Job:
    """The job that ``to_json`` of a shard or file describes."""
    file = document["file"]
    if "tensors" in document:
        tensors = tuple(OutputTensor.from_json(item) for item in document["tensors"])
        return OutputShard(file, tensors, document["metadata"])
    if "copy" in document:
        return OutputFile(file, ByteRange(**document["copy"]))
    if "text" in document:
        return OutputFile(file, Inline(document["text"].encode("utf-8")))
    import base64

    return OutputFile(file, Inline(base64.b64decode(document["base64"])))


@record
class VirtualContainer:
    """A whole checkpoint folder that does not exist yet."""

    shards: tuple[OutputShard, ...]
    files: tuple[OutputFile, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every file, each a job of its own."""
        return (*self.shards, *self.files)

    def require_sizes(self) -> None:
        """Work out every size, as of a container that somebody else has described.

        Raises ValueError, KeyError or IndexError where an operation or its inputs make no sense, or no disk could
        hold it.
        """
        for job in self.jobs:
            ends = [payload.start + payload.nbytes for payload in job.payloads if isinstance(payload, ByteRange)]
            if sum(payload.nbytes for payload in job.payloads) != job.size or max(job.size, *ends, 0) >= 1 << 63:
                raise ValueError(f"{job.file!r} has no size")

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> VirtualContainer:
        """The container that consists of these files."""
        found = tuple(jobs)
        return cls(
            tuple(job for job in found if isinstance(job, OutputShard)),
            tuple(job for job in found if isinstance(job, OutputFile)),
        )


def _ranges_first(tensors: Iterable[OutputTensor]) -> Iterator[Payload]:
    """Where the bytes of tensors come from, in order, without an object for each that is copied beside the last."""
    file, start, end = "", 0, -1
    for tensor in tensors:
        if tensor.operation in AS_STORED:
            _, _, _, shard, begin, nbytes = tensor.inputs[-1]
            if begin == end and shard == file:
                end += nbytes
                continue
            if end >= 0:
                yield ByteRange(file, start, end - start)
            file, start, end = shard, begin, begin + nbytes
            continue
        if end >= 0:
            yield ByteRange(file, start, end - start)
            end = -1
        yield from tensor.payloads
    if end >= 0:
        yield ByteRange(file, start, end - start)


def coalesce(payloads: Iterable[Payload]) -> Iterator[Payload]:
    """Join byte ranges that follow each other in the source: a renamed shard becomes one range."""
    file, start, end = "", 0, -1  # the range that may go on; none before its end
    for payload in payloads:
        if isinstance(payload, ByteRange) and payload.start == end and payload.file == file:
            end += payload.nbytes
            continue
        if end >= start:
            yield ByteRange(file, start, end - start)
        if isinstance(payload, ByteRange):
            file, start, nbytes = payload
            end = start + nbytes
        else:
            yield payload
            end = -1
    if end >= start:
        yield ByteRange(file, start, end - start)


def _tensor_to_json(tensor: TensorRef) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "file": tensor.shard,
        "start": tensor.start,
        "nbytes": tensor.nbytes,
    }


def _tensor_from_json(document: Mapping[str, Any]) -> TensorRef:
    return TensorRef(
        document["name"],
        document["dtype"],
        tuple(document["shape"]),
        document["file"],
        document["start"],
        document["nbytes"],
    )
