"""Moving byte ranges between files without bringing them into this process where the kernel can do it.

In order of preference: share the blocks (reflink), ``copy_file_range``, ``sendfile``, read and write. Each falls
back to the next when the file system or the kernel refuses it, and the refusal is remembered.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from enum import Enum
from threading import Event

from ckptkit.errors import ContainerError, OutputError

BLOCK = 4096
_FICLONERANGE = 0x4020940D
_CHUNK = 1 << 26
_BUFFER = 1 << 20
#: The kernel or the file system cannot do it this way; another way may work.
_UNSUPPORTED = frozenset(
    {
        errno.ENOSYS,
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.ENOTTY,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)


class Method(str, Enum):
    """How bytes were moved."""

    REFLINK = "reflink"
    COPY_FILE_RANGE = "copy_file_range"
    SENDFILE = "sendfile"
    READ_WRITE = "read/write"


class Cancelled(Exception):
    """Another worker failed or the user interrupted: stop at the next chunk."""


class Copier:
    """Copies ranges between open files and learns which methods work here.

    ``moved`` counts bytes by method. One copier may serve many threads: what they share is only ever a method
    being struck off.
    """

    def __init__(self, methods: tuple[Method, ...] = tuple(Method)) -> None:
        self._methods = [method for method in methods if method is not Method.READ_WRITE]
        self._cancel = Event()
        self.moved = dict.fromkeys(Method, 0)

    def cancel(self) -> None:
        """Make every running copy stop at its next chunk."""
        self._cancel.set()

    def copy(
        self, source: int, start: int, target: int, offset: int, nbytes: int, progress: Callable[[int], None]
    ) -> None:
        """Copy ``nbytes`` from ``start`` of ``source`` to ``offset`` of ``target`` (file descriptors)."""
        for method in tuple(self._methods):
            if nbytes == 0:
                return
            done = self._attempt(method, source, start, target, offset, nbytes, progress)
            start, offset, nbytes = start + done, offset + done, nbytes - done
        if nbytes:
            self._read_write(source, start, target, offset, nbytes, progress)

    def _attempt(
        self,
        method: Method,
        source: int,
        start: int,
        target: int,
        offset: int,
        nbytes: int,
        progress: Callable[[int], None],
    ) -> int:
        """Copy as much as one method can; the number of bytes that it moved."""
        step = _STEPS[method]
        done = 0
        while done < nbytes:
            self._check()
            try:
                moved = step(source, start + done, target, offset + done, min(_CHUNK, nbytes - done))
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise write_error(error) from error
                if method in self._methods:
                    self._methods.remove(method)
                break
            if moved == 0:
                break
            done += moved
            self.moved[method] += moved
            progress(moved)
        return done

    def _read_write(
        self, source: int, start: int, target: int, offset: int, nbytes: int, progress: Callable[[int], None]
    ) -> None:
        buffer = memoryview(bytearray(min(_BUFFER, nbytes)))
        done = 0
        while done < nbytes:
            self._check()
            window = buffer[: min(len(buffer), nbytes - done)]
            count = os.preadv(source, [window], start + done)
            if count == 0:
                raise ContainerError(
                    f"a source file ended {nbytes - done} bytes early: it changed while it was copied"
                )
            write_all(target, window[:count], offset + done)
            done += count
            self.moved[Method.READ_WRITE] += count
            progress(count)

    def _check(self) -> None:
        if self._cancel.is_set():
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


def write_error(error: OSError) -> OutputError:
    """A failed write in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full", help="free some space; nothing was left behind")
    return OutputError(f"writing failed: {error.strerror or error}")


def _reflink(source: int, start: int, target: int, offset: int, nbytes: int) -> int:
    """Share whole blocks; 0 when the offsets are not both on a block boundary."""
    import fcntl

    if start % BLOCK or offset % BLOCK:
        return 0
    whole = nbytes - nbytes % BLOCK
    if whole:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("<qQQQ", source, start, whole, offset))
    return whole


def _copy_file_range(source: int, start: int, target: int, offset: int, nbytes: int) -> int:
    if not hasattr(os, "copy_file_range"):
        raise OSError(errno.ENOSYS, "copy_file_range is Linux only")
    return os.copy_file_range(source, target, nbytes, start, offset)


def _sendfile(source: int, start: int, target: int, offset: int, nbytes: int) -> int:
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, start, nbytes)


_STEPS: dict[Method, Callable[[int, int, int, int, int], int]] = {
    Method.REFLINK: _reflink,
    Method.COPY_FILE_RANGE: _copy_file_range,
    Method.SENDFILE: _sendfile,
}
