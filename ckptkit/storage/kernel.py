"""Calls to the Linux kernel and its C library that Python has no function for. Elsewhere they do what little is needed.

All are there for speed: blocks reserved beforehand make writing a third cheaper on ext4, a disk that has begun to write
while bytes still come in has less to do when the file is synced, and memory that is kept is not cleared again.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

#: Bytes below which nothing is gained; a small checkpoint is written sooner than the calls are looked up.
_WORTHWHILE = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def allocate(handle: int, nbytes: int) -> None:
    """Give a new file its size, with all the blocks of a large one where the file system can reserve them.

    ``os.posix_fallocate`` is no substitute: where nothing can be reserved it writes the file full of zeros. Raises
    OSError when there is no room for a large file; writing says so of a small one.
    """
    if nbytes >= _WORTHWHILE and (fallocate := _c_function("fallocate")) is not None:
        code = _error_of(fallocate, handle, 0, 0, nbytes)
        if not code:
            return
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(code, os.strerror(code))
    os.truncate(handle, nbytes)


def begin_writeback(handle: int, offset: int, nbytes: int) -> None:
    """Let the disk begin to write a large range of a file, without waiting for it."""
    if nbytes >= _WORTHWHILE and (sync_file_range := _c_function("sync_file_range")) is not None:
        # Only a hint: fsync will tell what is wrong.
        _error_of(sync_file_range, handle, offset, nbytes, _SYNC_FILE_RANGE_WRITE)


@lru_cache
def keep_freed_memory() -> None:
    """Do not give memory back between one stripe and the next: the kernel would have to clear every page anew.

    Up to 64 MiB stay with the process.
    """
    if (mallopt := _c_function("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, 1 << 26)


def _error_of(function: Callable[..., int], *arguments: int) -> int:
    """Call a function that gives 0 where all went well; the number of its error."""
    import ctypes

    return ctypes.get_errno() if function(*arguments) else 0


@lru_cache
def _c_function(name: str) -> Callable[..., int] | None:
    """A function of the C library, or None where it is not to be had."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    import ctypes

    number, offset = ctypes.c_int, ctypes.c_int64
    signatures = {
        "fallocate": (number, number, offset, offset),
        "sync_file_range": (number, offset, offset, ctypes.c_uint),
        "mallopt": (number, number),
    }
    try:
        function: Any = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        return None
    function.argtypes, function.restype = signatures[name], number
    found: Callable[..., int] = function
    return found
