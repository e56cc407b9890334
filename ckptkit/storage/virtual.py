"""A folder that does not exist yet, as a source: what has been planned can be read before it is written.

Reading the planned files through the same code that reads real ones is how a plan is judged: the headers are the very
bytes that will be written, and payloads come from wherever the plan takes them.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.output import VirtualContainer
from ckptkit.storage.payload import ByteRange, Computed, Payload, Stream
from ckptkit.storage.source import FileEntry, Source, Traits


class _Layout:
    """The payloads of one file, each with the offset at which it begins."""

    def __init__(self, payloads: tuple[Payload, ...]) -> None:
        self.payloads = payloads
        self.offsets: list[int] = []
        self.size = 0
        for payload in payloads:
            self.offsets.append(self.size)
            self.size += payload.nbytes


class VirtualSource(Source):
    """Read access to the files of a virtual container, backed by the source that its ranges point into.

    ``stream`` makes the bytes of computed payloads, and of those only the part that is read.
    """

    def __init__(self, container: VirtualContainer, backing: Source, stream: Stream) -> None:
        self._backing = backing
        self._stream = stream
        self._layouts = {job.file: _Layout(job.payloads) for job in container.jobs}

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self._backing.label

    @property
    def traits(self) -> Traits:
        """Nothing is read on suspicion: what follows a header may have to be computed."""
        return Traits(first_read=8)

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""
        return tuple(sorted(FileEntry(name, layout.size) for name, layout in self._layouts.items()))

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""
        return self._backing.faults()

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
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

    def origin(self, span: ByteRange) -> ByteRange | None:
        """Where the bytes of a range are copied from; None where they are not copied from one place."""
        layout = self._layouts[span.file]
        position = bisect_right(layout.offsets, span.start) - 1
        payload, begin = layout.payloads[position], span.start - layout.offsets[position]
        if not isinstance(payload, ByteRange) or begin + span.nbytes > payload.nbytes:
            return None
        return self._backing.origin(ByteRange(payload.file, payload.start + begin, span.nbytes))

    def local_path(self, name: str) -> Path | None:
        """The file on this machine, where it is on one."""
        return None

    def _part(self, payload: Payload, begin: int, end: int) -> bytes:
        if isinstance(payload, ByteRange):
            return self._backing.read(payload.file, payload.start + begin, end - begin)
        if isinstance(payload, Computed):
            return b"".join(self._stream(payload, self._backing, begin, end))
        return payload.data[begin:end]
