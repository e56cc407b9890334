"""Staging: a folder beside the destination that becomes the destination in one rename, or vanishes.

A staging folder is locked while its process lives, with a lock that dies with the process. One that can be locked by
somebody else belonged to a process that was killed, and the next run for the same destination removes it. Where the
file system has no locks (some network mounts), nothing is ever taken for dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptkit.errors import Fault, OutputError
from ckptkit.storage.copy import write_error
from ckptkit.storage.destination import DestinationTraits
from ckptkit.storage.file_names import hidden_name

_MARK = ".ckptkit-staging-"


def check_destination(
    destination: Path, source: Path | None, needed: int, *, shareable: int = 0, sample: Path | None = None
) -> None:
    """Refuse a destination before anything is written: taken, nested with the source, not writable, or too full.

    ``needed`` is the size of the output in bytes. ``shareable`` of them take no room if the destination's file system
    can take over blocks of the source, which is tried with the file ``sample``.
    """
    where = str(destination)
    try:
        if destination.is_symlink():
            raise OutputError(f"{where} is a symbolic link", help="choose a new folder, or the one it leads to")
        if destination.exists() and not destination.is_dir():
            raise OutputError(f"{where} exists and is not a folder", help="choose another destination")
        if destination.exists() and any(destination.iterdir()):
            raise OutputError(f"{where} is not empty", help="choose a new folder; nothing is ever overwritten")
    except OSError as error:
        raise OutputError(f"{where} cannot be looked at: {error.strerror}") from error
    target = Path(os.path.realpath(destination))
    if os.path.ismount(target):
        help_text = "name a new folder inside it: a finished checkpoint is moved into place, and this cannot be"
        raise OutputError(f"{where} is a mount point", help=help_text)
    if source is not None:
        origin = Path(os.path.realpath(source))
        if _holds(origin, target):
            raise OutputError(f"{where} lies inside the source folder", help="choose a folder outside of it")
        if _holds(target, origin):
            raise OutputError(f"{where} contains the source folder", help="choose a folder outside of it")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent} does not exist", help="create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{target.parent} cannot be written", help="choose a folder that you may write to")
    _check_room(target, needed, shareable, sample)


def _holds(outer: Path, inner: Path) -> bool:
    """Whether ``inner`` is ``outer`` or lies in it, by identity: spellings and bind mounts do not hide it."""
    return inner.is_relative_to(outer) or any(
        outer.exists() and folder.exists() and os.path.samefile(folder, outer) for folder in (inner, *inner.parents)
    )


def _check_room(target: Path, needed: int, shareable: int, sample: Path | None) -> None:
    traits = DestinationTraits(target.parent, sample)
    if traits.free < needed and traits.shares_blocks:
        needed -= shareable
    if traits.free < needed:
        found = f"{traits.free:,} bytes free"
        fault = Fault("disk-full", "too little disk space", expected=f"{needed:,} bytes", found=found)
        raise OutputError(f"{target} has too little room", faults=[fault])


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """A new, locked folder beside ``destination``, renamed to it on success and removed on any failure."""
    target = Path(os.path.realpath(destination))
    remove_stale(target)
    prefix = hidden_name(target, _MARK)
    lock = -1
    while lock < 0:
        folder = target.parent / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"
        try:
            lock = _create_locked(folder)
        except FileExistsError:
            continue
        except OSError as error:
            _remove(folder)
            raise OutputError(f"{target.parent} cannot be written: {error.strerror}") from error
        except BaseException:
            _remove(folder)
            raise
    try:
        yield folder
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise OutputError(f"{destination} was created by somebody else meanwhile") from error
            raise write_error(error) from error
    except BaseException:
        _remove(folder)
        raise
    finally:
        os.close(lock)


def _create_locked(folder: Path) -> int:
    """Make a folder and lock it; -1 if another run took it for dead between the two and removed it."""
    folder.mkdir()
    try:
        with suppress(OSError):  # some mounts have one mode for all
            folder.chmod(folder.stat().st_mode | 0o700)  # whatever the umask hides, its owner has work to do in it
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
    if folder.exists():
        return lock
    os.close(lock)
    return -1


def remove_stale(target: Path) -> list[Path]:
    """Remove staging folders of dead processes for this destination; the folders that were removed."""
    removed = []
    prefix = hidden_name(target, _MARK)
    for name in sorted(os.listdir(target.parent)):
        if not name.startswith(prefix):
            continue
        folder = target.parent / name
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_tree(folder)
            removed.append(folder)
        except OSError:
            continue
        finally:
            os.close(handle)
    return removed


class DurabilityWarning(UserWarning):
    """Everything is written and in its place, but the disk has not confirmed that it would survive a power cut."""


def confirm(done: str, folders: Iterable[Path]) -> bool:
    """Make folders' entries durable after something is ``done``; a DurabilityWarning, and False, where that fails.

    What is done does not become undone by it, so it is no error.
    """
    for folder in folders:
        try:
            sync_folder(folder)
        except (OSError, OutputError) as error:
            reason = error.message if isinstance(error, OutputError) else error.strerror or error
            warnings.warn(f"{done}, but the disk has not confirmed it: {reason}", DurabilityWarning, stacklevel=2)
            return False
    return True


def sync_folders(folder: Path) -> None:
    """Make the entries of a folder that holds something durable, and those of every folder in it."""
    for inner in sorted({path.parent for path in folder.rglob("*")}):
        sync_folder(inner)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise write_error(error) from error
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Remove a staging folder whatever happens meanwhile: a second Ctrl-C must not leave half of it behind."""
    while True:
        try:
            _remove_tree(folder)
        except KeyboardInterrupt:
            continue
        return


def _remove_tree(folder: Path) -> None:
    import shutil  # with what it needs for archives it takes a while, and most conversions remove nothing

    shutil.rmtree(folder, ignore_errors=True)
