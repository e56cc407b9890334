"""One small file, written whole or not at all: beside its place, made durable, and renamed over what was there.

Until the rename, what was there stays as it was; after it, the new one is there. What a process that was killed leaves
has a name of its own, and the next run for the same file removes it, whether it writes or not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptkit.errors import OutputError
from ckptkit.storage.file_names import UNFINISHED, hidden_name
from ckptkit.storage.staging import confirm


def write_beside(place: Path, data: bytes, *, executable: bool = False, like: Path | None = None) -> None:
    """Put ``data`` into the file ``place``, with the mode of the file ``like``, or of the one that was there.

    Raises OSError, and OutputError while another process writes the same file; what was there is then still there.
    """
    staged, like = _staged(place), like or place
    # The mode is asked for when the file is made, since some mounts let nobody change it afterwards.
    mode = 0o777 if executable else stat.S_IMODE(like.stat().st_mode) if like.exists() else 0o666
    with _made(place, staged, mode) as handle:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        if not executable:
            with suppress(OSError):
                shutil.copymode(like, staged)
        os.fsync(handle)
        os.replace(staged, place)
    confirm(f"{place} is written", [place.parent])


def keep_beside(place: Path, copy: Path) -> None:
    """Give the file ``place`` a second name, which must not exist; where there are no hard links, a copy of it."""
    try:
        os.link(place, copy, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        write_beside(copy, place.read_bytes(), like=place)


def clear_beside(place: Path) -> bool:
    """Remove what a killed :func:`write_beside` has left for ``place``; whether there was something."""
    staged = _staged(place)
    try:
        handle = os.open(staged, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(staged)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _staged(place: Path) -> Path:
    return place.parent / hidden_name(place, UNFINISHED)


@contextmanager
def _made(place: Path, staged: Path, mode: int) -> Iterator[int]:
    """A new, locked file, removed on any failure; one that a dead process has left is removed first."""
    handle = -1
    while handle < 0:
        try:
            handle = _create_locked(staged, mode)
        except FileExistsError:
            if not clear_beside(place):
                help_text = "is another process writing? Else remove it"
                raise OutputError(f"{staged} is in the way", help=help_text) from None
    try:
        yield handle
    except BaseException:
        with suppress(OSError):
            os.unlink(staged)
        raise
    finally:
        os.close(handle)


def _create_locked(staged: Path, mode: int) -> int:
    """Make a file and lock it; -1 if another run took it for dead between the two and removed it."""
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with suppress(OSError):  # where nothing can be locked, nothing is taken for dead
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(OSError):
        if os.path.samestat(os.fstat(handle), os.lstat(staged)):
            return handle
    os.close(handle)
    return -1
