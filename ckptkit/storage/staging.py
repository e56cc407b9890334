"""Staging: a folder beside the destination that becomes the destination in one rename, or vanishes.

A staging folder is locked while its process lives. One that can be locked by somebody else belonged to a process
that was killed, and the next run for the same destination removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckptkit.errors import Fault, OutputError
from ckptkit.storage.copy import write_error

_MARK = ".ckptkit-staging-"


def check_destination(destination: Path, source: Path | None, needed: int) -> None:
    """Refuse a destination before anything is written: not empty, nested with the source, or no room for it."""
    where = str(destination)
    if destination.is_symlink() or destination.exists():
        if not destination.is_dir() or destination.is_symlink():
            raise OutputError(f"{where} exists and is not a folder", help="choose another destination")
        if any(destination.iterdir()):
            raise OutputError(
                f"{where} is not empty", help="choose a new folder; nothing is ever overwritten"
            )
    target = Path(os.path.realpath(destination))
    if source is not None:
        origin = Path(os.path.realpath(source))
        if target == origin or target.is_relative_to(origin):
            raise OutputError(f"{where} lies inside the source folder", help="choose a folder outside of it")
        if origin.is_relative_to(target):
            raise OutputError(f"{where} contains the source folder", help="choose a folder outside of it")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent} does not exist", help="create it first")
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        fault = Fault(
            "disk-full", "too little disk space", expected=f"{needed:,} bytes", found=f"{free:,} bytes free"
        )
        raise OutputError(f"{where} has too little room", faults=[fault])


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """A new, locked folder beside ``destination``, renamed to it on success and removed on any failure."""
    target = Path(os.path.realpath(destination))
    remove_stale(target)
    folder = target.parent / f".{target.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written: {error.strerror}") from error
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise OutputError(f"{destination} was created by somebody else meanwhile") from error
            raise write_error(error) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def remove_stale(target: Path) -> list[Path]:
    """Remove staging folders of dead processes for this destination; the folders that were removed."""
    removed = []
    for folder in target.parent.glob(f".{_escape(target.name)}{_MARK}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
    return removed


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _escape(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
