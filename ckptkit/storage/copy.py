"""Moving byte ranges between files without bringing them into this process where the kernel can do it.

In order of preference: share the blocks (reflink), ``copy_file_range``, ``sendfile``, read and write; the last alone
where the blocks of source and target do not meet. Which of them work depends on kernel, file system and mount, and
nothing tells but trying: a method that fails is not tried again, and the next one takes over where it stopped. Only
read and write know whether reading or writing has failed, so an error is final when they meet it; a full disk is final
at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from ckptkit.errors import ContainerError, OutputError
from ckptkit.storage.kernel import begin_writeback

BLOCK = 4096
_FICLONERANGE = 0x4020940D
#: Bytes between two looks at whether to stop.
_CHUNK = 1 << 26
_BUFFER = 1 << 18
_BOUNDARY = 1 << 21
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Method(str, Enum):
    """How bytes were moved, the cheapest first."""

    REFLINK = "reflink"
    COPY_FILE_RANGE = "copy_file_range"
    SENDFILE = "sendfile"
    READ_WRITE = "read/write"


class Transfer(NamedTuple):
    """Bytes to be moved from ``start`` of one open file to ``offset`` of another (file descriptors)."""

    source: int
    start: int
    target: int
    offset: int
    nbytes: int

    def first(self, nbytes: int) -> Transfer:
        """The part before ``nbytes``."""
        return self._replace(nbytes=nbytes)

    def after(self, nbytes: int) -> Transfer:
        """The part from ``nbytes`` on."""
        return Transfer(self.source, self.start + nbytes, self.target, self.offset + nbytes, self.nbytes - nbytes)


class Cancelled(Exception):
    """Another worker failed or the user interrupted: stop at the next chunk."""


class Copier:
    """Moves ranges between open files and learns which methods work here.

    ``moved`` counts bytes by method. With ``write_back`` the disk begins to write what has been moved at once, so
    that it has less left to do when the files are synced. One copier may serve many threads.
    """

    def __init__(self, methods: tuple[Method, ...] = tuple(Method), *, write_back: bool = False) -> None:
        self._write_back = write_back
        self._methods = [method for method in methods if method is not Method.READ_WRITE]
        self._refused: set[Method] = set()
        self._cancelled = False
        self._lock = Lock()
        self.moved = dict.fromkeys(Method, 0)

    def cancel(self) -> None:
        """Make every running copy stop at its next chunk."""
        self._cancelled = True

    def copy(self, transfer: Transfer, progress: Callable[[int], None]) -> None:
        """Move all bytes of a transfer.

        Raises ContainerError when the source cannot be read, OutputError when the target cannot be written.
        """
        sharing = Method.REFLINK in self._methods and Method.REFLINK not in self._refused
        # Where blocks do not meet, the kernel's own copy splits every page, and takes twice the time of read and write.
        methods = self._methods if (transfer.start - transfer.offset) % BLOCK == 0 else ()
        for part in _cut_at_blocks(transfer) if sharing else (transfer,):
            for method in methods:
                if part.nbytes and method not in self._refused:
                    part = part.after(self._attempt(method, part, progress))
            if part.nbytes:
                self._read_write(part, progress)

    def _attempt(self, method: Method, transfer: Transfer, progress: Callable[[int], None]) -> int:
        """Move as much as one method can; the number of bytes that it moved."""
        done = 0
        while done < transfer.nbytes:
            self.check()
            rest = transfer.after(done)
            try:
                moved = _STEPS[method](rest.first(_stride(rest, _CHUNK)))
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise write_error(error) from error
                self._refused.add(method)
                break
            if moved == 0:
                break
            self._count(method, rest.first(moved), progress)
            done += moved
        return done

    def _read_write(self, transfer: Transfer, progress: Callable[[int], None]) -> None:
        buffer = memoryview(bytearray(min(_BUFFER, transfer.nbytes)))
        while transfer.nbytes:
            self.check()
            window = buffer[: _stride(transfer, len(buffer))]
            try:
                count = os.preadv(transfer.source, [window], transfer.start)
            except OSError as error:
                raise ContainerError(f"reading the source failed: {error.strerror or error}") from error
            if count == 0:
                missing = f"{transfer.nbytes:,} bytes early"
                raise ContainerError(f"a source file ended {missing}: it changed while it was copied")
            write_all(transfer.target, window[:count], transfer.offset)
            self._count(Method.READ_WRITE, transfer.first(count), progress)
            transfer = transfer.after(count)

    def _count(self, method: Method, done: Transfer, progress: Callable[[int], None]) -> None:
        with self._lock:
            self.moved[method] += done.nbytes
        if self._write_back:
            begin_writeback(done.target, done.offset, done.nbytes)
        progress(done.nbytes)

    def check(self) -> None:
        """Raise Cancelled when somebody called :meth:`cancel`."""
        if self._cancelled:
            raise Cancelled


def write_all(target: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``; a full disk becomes an OutputError."""
    view = memoryview(data)
    while view:
        try:
            count = os.pwrite(target, view, offset)
        except OSError as error:
            raise write_error(error) from error
        view, offset = view[count:], offset + count


def write_error(error: OSError, name: str | None = None) -> OutputError:
    """A failed write in words; ``name`` is the file's, as the user will know it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full", help="free some space; nothing was left behind")
    return OutputError(f"writing{f' {name}' if name else ''} failed: {error.strerror or error}")


def shares_blocks(sample: Path, folder: Path) -> bool:
    """Whether files in a folder can take over blocks of ``sample``; tried with a file that never has a name."""
    if sys.platform != "linux":
        return False
    try:
        with open(sample, "rb") as origin:
            probe = os.open(folder, os.O_TMPFILE | os.O_RDWR)
            try:
                return _reflink(Transfer(origin.fileno(), 0, probe, 0, BLOCK)) == BLOCK
            finally:
                os.close(probe)
    except OSError:
        return False


def _stride(transfer: Transfer, most: int) -> int:
    """How much to move next: little at first, so that whatever follows begins on a large boundary of the target.

    The page cache then takes large pages for it, and writing takes a quarter less time.
    """
    return min(transfer.nbytes, most, _BOUNDARY - transfer.offset % _BOUNDARY if transfer.offset % _BOUNDARY else most)


def _cut_at_blocks(transfer: Transfer) -> Iterator[Transfer]:
    """What lies before the first block boundary, the whole blocks, and the rest; all in one if no boundaries meet."""
    head = -transfer.start % BLOCK
    if (transfer.start - transfer.offset) % BLOCK or transfer.nbytes - head < BLOCK:
        yield transfer
        return
    rest = transfer.after(head)
    body = rest.nbytes - rest.nbytes % BLOCK
    yield from (part for part in (transfer.first(head), rest.first(body), rest.after(body)) if part.nbytes)


def _reflink(part: Transfer) -> int:
    """Share whole blocks; 0 when there are none."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "FICLONERANGE is Linux only")
    if part.start % BLOCK or part.offset % BLOCK or part.nbytes < BLOCK:
        return 0
    whole = part.nbytes - part.nbytes % BLOCK
    fcntl.ioctl(part.target, _FICLONERANGE, struct.pack("<qQQQ", part.source, part.start, whole, part.offset))
    return whole


def _copy_file_range(part: Transfer) -> int:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "copy_file_range is Linux only")
    return os.copy_file_range(part.source, part.target, part.nbytes, part.start, part.offset)


def _sendfile(part: Transfer) -> int:
    """Linux alone sends from file to file; elsewhere this fails as any other method does."""
    os.lseek(part.target, part.offset, os.SEEK_SET)
    return os.sendfile(part.target, part.source, part.start, part.nbytes)


_STEPS: dict[Method, Callable[[Transfer], int]] = {
    Method.REFLINK: _reflink,
    Method.COPY_FILE_RANGE: _copy_file_range,
    Method.SENDFILE: _sendfile,
}
