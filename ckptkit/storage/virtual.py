"""A folder that does not exist yet, as a source: what has been planned can be read before it is written.

Reading the planned files through the same code that reads real ones is how a plan is judged: the headers are the very
bytes that will be written, and payloads come from wherever the plan takes them.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.payload import ByteRange, Computed, Inline, OutputShard, Payload, VirtualContainer
from ckptkit.storage.source import FileEntry, Source
from ckptkit.storage.writer import shard_header


class _Layout:
    """The payloads of one file, each with the offset at which it begins."""

    def __init__(self, payloads: list[Payload]) -> None:
        self.payloads = payloads
        self.offsets: list[int] = []
        self.size = 0
        for payload in payloads:
            self.offsets.append(self.size)
            self.size += payload.nbytes


class VirtualSource:
    """Read access to the files of a virtual container, backed by the source that its ranges point into."""

    def __init__(self, container: VirtualContainer, backing: Source) -> None:
        self._backing = backing
        self._layouts = {shard.file: _Layout(_shard_payloads(shard)) for shard in container.shards}
        self._layouts.update((item.file, _Layout([item.payload])) for item in container.files)

    @property
    def label(self) -> str:
        return self._backing.label

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(sorted(FileEntry(name, layout.size) for name, layout in self._layouts.items()))

    def faults(self) -> tuple[Fault, ...]:
        return self._backing.faults()

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        layout = self._layouts.get(name)
        if layout is None:
            raise ContainerError(f"{name} is not among the files of {self.label}")
        stop = layout.size if nbytes is None else start + nbytes
        if stop > layout.size:
            raise ContainerError(f"{name} ends before byte {stop}")
        parts = []
        position = max(0, bisect_right(layout.offsets, start) - 1)
        while position < len(layout.payloads) and layout.offsets[position] < stop:
            offset, payload = layout.offsets[position], layout.payloads[position]
            begin, end = max(start - offset, 0), min(stop - offset, payload.nbytes)
            if begin < end:
                parts.append(self._part(payload, begin, end))
            position += 1
        return b"".join(parts)

    def local_path(self, name: str) -> Path | None:
        return None

    def _part(self, payload: Payload, begin: int, end: int) -> bytes:
        if isinstance(payload, ByteRange):
            return self._backing.read(payload.file, payload.start + begin, end - begin)
        if isinstance(payload, Computed):
            inputs = tuple(self._backing.read(span.file, span.start, span.nbytes) for span in payload.inputs)
            return payload.compute(inputs)[begin:end]
        return payload.data[begin:end]


def _shard_payloads(shard: OutputShard) -> list[Payload]:
    return [Inline(shard_header(shard)), *(tensor.payload for tensor in shard.tensors)]
