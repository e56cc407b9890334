"""Two calls to the Linux kernel that Python has no function for. Elsewhere they do the little that is needed.

Both are there for speed: blocks reserved beforehand make writing a third cheaper on ext4, and a disk that has begun
to write while bytes still come in has less to do when the file is synced.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

_SYNC_FILE_RANGE_WRITE = 2


def allocate(handle: int, nbytes: int) -> None:
    """Give a new file its size, with all its blocks where the file system can reserve them.

    ``os.posix_fallocate`` is no substitute: where nothing can be reserved it writes the file full of zeros. Raises
    OSError when there is no room.
    """
    if nbytes and (fallocate := _kernel_function("fallocate")) is not None:
        try:
            fallocate(handle, 0, 0, nbytes)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
    os.truncate(handle, nbytes)


def begin_writeback(handle: int, offset: int, nbytes: int) -> None:
    """Let the disk begin to write a range of a file, without waiting for it."""
    if (sync_file_range := _kernel_function("sync_file_range")) is not None:
        with suppress(OSError):  # only a hint: fsync will tell what is wrong
            sync_file_range(handle, offset, nbytes, _SYNC_FILE_RANGE_WRITE)


@lru_cache
def _kernel_function(name: str) -> Callable[..., None] | None:
    """A function of the C library as one that raises OSError, or None where it is not to be had."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    import ctypes

    number, offset = ctypes.c_int, ctypes.c_int64
    signatures = {
        "fallocate": (number, number, offset, offset),
        "sync_file_range": (number, offset, offset, ctypes.c_uint),
    }
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        return None
    function.argtypes, function.restype = signatures[name], number

    def call(*arguments: int) -> None:
        if function(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call
