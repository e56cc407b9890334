"""Replacing some files of a folder so that no number of interruptions, at whatever step, ever loses anything.

New files are staged in a folder beside the target and made durable before the first old one goes. A marker then
declares the set complete: written under another name and renamed, so that it is there whole or not at all. Each file
is renamed into its place, shards first, the index and the config last, so that the files that describe the others are
the last to change; then the marker goes before anything else of the staged folder. Signals wait until that is done.

So there are three states, and the next run knows which one it finds: without a marker nothing has begun, or all is
over, and what is staged is thrown away; with one, every file is either still staged, with the old one in its place, or
it is in its place. What a file must be in each case is in the marker: the old one by inode, size and time, the new one
by size and time, which a rename keeps. Anything else is nobody's leftover, and nothing is moved or removed: a staged
folder may also come from a stranger, in an archive or a repository, or be older than what now lies in the target.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ckptkit.errors import OutputError
from ckptkit.storage.copy import write_error
from ckptkit.storage.file_names import staged_folder
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.index import is_inside
from ckptkit.storage.staging import confirm, sync_folder, sync_folders

_COMPLETE = ".complete"
_DECLARING = ".complete.new"
_ELSEWHERE = "give a new folder as the output instead"
#: A marker is a line for each file; no folder that we stage comes near this.
_MOST_MARKER_BYTES = 1 << 24
#: Signals that ask a program to stop.
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Inode, size in bytes and time of change in nanoseconds of a file; None for no file.
_Facts = tuple[int, int, int] | None


class _Entry(NamedTuple):
    """A file of the set: what lies in its place before, and what is staged to lie there afterwards."""

    name: str
    old: _Facts
    new: _Facts

    def is_staged(self, folder: Path) -> bool:
        """Whether the new file is still where it was staged."""
        return _alike(_facts(folder / self.name), self.new)

    def is_in_place(self, target: Path) -> bool:
        """Whether the new file is where it belongs."""
        return _alike(_facts(target / self.name), self.new)


@contextmanager
def replacing(root: Path, was: Callable[[str], FileState | None] = lambda name: None) -> Iterator[Path]:
    """A folder to be filled with new versions of files of ``root``; on success they take the old ones' places.

    ``was`` tells of a file what it was when it was read: one that somebody has changed since then is not replaced, and
    nothing else is, with SourceChanged.

    Before the block, an interrupted replacement of the same folder is finished. If the block raises, nothing changes.
    """
    target = _checked(root)
    with _locked(target):
        _finish(target)
        folder = staged_folder(target)
        try:
            folder.mkdir()
        except FileExistsError:
            help_text = "look at it, and remove it"
            raise OutputError(f"{folder} is in the way, and not what a fix left", help=help_text) from None
        except OSError as error:
            raise OutputError(f"{target.parent} cannot be written: {error.strerror}", help=_ELSEWHERE) from error
        try:
            with suppress(OSError):
                folder.chmod(folder.stat().st_mode | 0o700)  # whatever the umask hides, its owner has work to do in it
            yield folder
        except BaseException:
            with _signals_wait():
                _discard(folder)
            raise
        with _signals_wait():
            try:
                entries = _declare_complete(folder, target, was)
            except BaseException:
                _discard(folder)
                raise
            _move(folder, target, entries)


def finish_interrupted(root: Path) -> int:
    """Finish or discard what an interrupted run left beside ``root``; how many files were moved into place."""
    target = Path(os.path.realpath(root))
    if not staged_folder(target).exists():
        return 0
    with _locked(target), _signals_wait():
        return _finish(target)


def unfinished(root: Path) -> Path | None:
    """The staged folder of an interrupted replacement, while some of the files of ``root`` are not yet in place."""
    target = Path(os.path.realpath(root))
    folder = staged_folder(target)
    return folder if any(_is_open(entry, folder, target) for entry in _marker(folder, target) or ()) else None


def refuse_cache(root: Path) -> None:
    """Raise OutputError for a snapshot in the hub library's cache, whose files other snapshots share."""
    if Path(os.path.abspath(root)).parent.name == "snapshots":
        raise OutputError(f"{root} belongs to the hub's cache and is not ours to change", help=_ELSEWHERE)


def _checked(root: Path) -> Path:
    refuse_cache(root)
    target = Path(os.path.realpath(root))
    if not os.access(target, os.W_OK):
        raise OutputError(f"{root} cannot be written", help=_ELSEWHERE)
    return target


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the target's lock, which dies with the process."""
    lock = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{target} is being changed by another process") from None
        except OSError as error:
            # Without locks, what another process is staging could not be told from what a dead one has left.
            raise OutputError(f"{target} cannot be locked: {error.strerror}", help=_ELSEWHERE) from error
        yield
    finally:
        os.close(lock)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals that ask this thread to stop are delivered after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _finish(target: Path) -> int:
    folder = staged_folder(target)
    if folder.is_symlink() or not folder.is_dir():
        return 0
    if not os.path.lexists(folder / _COMPLETE):
        _discard(folder)
        return 0
    entries = _marker(folder, target)
    return 0 if entries is None else _move(folder, target, entries)


def _marker(folder: Path, target: Path) -> list[_Entry] | None:
    """The entries of a complete staged folder, in order; None unless it was made for this very target."""
    try:
        place = folder / _COMPLETE
        if folder.is_symlink() or not stat.S_ISREG(place.lstat().st_mode) or place.stat().st_size > _MOST_MARKER_BYTES:
            return None
        marker = json.loads(place.read_text(encoding="utf-8"))
        if marker["target"] != _target_identity(target):
            return None
        entries = [
            _Entry(name, _read_facts(sides["old"]), _read_facts(sides["new"]))
            for name, sides in marker["files"].items()
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return entries if all(is_inside(entry.name) and entry.new is not None for entry in entries) else None


def _read_facts(value: object) -> _Facts:
    if value is None:
        return None
    if not isinstance(value, list):
        raise TypeError("not a list")
    inode, size, time = (int(number) for number in value)
    return inode, size, time


def _target_identity(target: Path) -> int:
    """The folder's inode. The device's number may be another after a restart, and that is what this is for."""
    return target.stat().st_ino


def _facts(place: Path) -> _Facts:
    """What tells a file from any other that may take its name."""
    try:
        state = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def _alike(found: _Facts, wanted: _Facts) -> bool:
    """Whether a file is the recorded one; not all file systems keep the number of an inode when a file is moved."""
    return found is not None and wanted is not None and found[1:] == wanted[1:]


def _is_open(entry: _Entry, folder: Path, target: Path) -> bool:
    """Whether a file has not got to its place. What has been changed since then is not ours any more."""
    return os.path.lexists(folder / entry.name) or _facts(target / entry.name) == entry.old


def _waiting(folder: Path, target: Path, entries: list[_Entry]) -> list[_Entry]:
    """The files that are still to be moved. Raises OutputError unless all that is found is what was recorded."""
    waiting = [entry for entry in entries if _is_open(entry, folder, target)]
    for entry in entries if waiting else ():
        place, now = target / entry.name, _facts(target / entry.name)
        if entry.is_staged(folder):
            if now != entry.old:
                help_text = f"remove {folder} to keep what is there now"
                raise OutputError(f"{place} has changed since a fix was interrupted", help=help_text)
        elif os.path.lexists(folder / entry.name) or not entry.is_in_place(target):
            help_text = f"{target} is as the fix left it, and what is still staged lies in {folder}: look at both"
            raise OutputError(f"{folder / entry.name} is not what a fix had staged", help=help_text)
    return waiting


def _refuse_links(target: Path, names: Iterable[str]) -> None:
    """Refuse a file that a symbolic link stands for, or that lies in a linked folder or on another file system."""
    device = target.stat().st_dev
    for name in names:
        for place in (target / name, *(target / parent for parent in Path(name).parents)):
            if place != target and place.is_symlink():
                raise OutputError(f"{place} is a symbolic link; its target is not ours to change", help=_ELSEWHERE)
            if place.exists() and place.stat().st_dev != device:
                raise OutputError(f"{target} holds another file system", help=_ELSEWHERE)


def _staged(folder: Path) -> list[str]:
    """The staged files in the order in which they are moved: those that describe others come last."""
    ours = (_COMPLETE, _DECLARING)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name not in ours]
    return sorted(names, key=lambda name: (name.endswith(".json"), name.endswith("config.json"), name))


def _declare_complete(folder: Path, target: Path, was: Callable[[str], FileState | None]) -> list[_Entry]:
    """Make everything staged durable, and then the marker that says so."""
    if folder.stat().st_dev != target.stat().st_dev:
        raise OutputError(f"{target} is a file system of its own", help=_ELSEWHERE)
    names = _staged(folder)
    _refuse_links(target, names)
    for name in names:
        _sync_file(folder / name)
    sync_folders(folder)
    entries = [_Entry(name, _facts(target / name), _facts(folder / name)) for name in names]
    for entry in entries:
        if was(entry.name) not in (None, entry.old):
            raise source_changed(target / entry.name, "fixed")
    files = {entry.name: {"old": entry.old, "new": entry.new} for entry in entries}
    marker = json.dumps({"target": _target_identity(target), "files": files}).encode()
    try:
        handle = os.open(folder / _DECLARING, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            while marker:
                marker = marker[os.write(handle, marker) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(folder / _DECLARING, folder / _COMPLETE)
    except OSError as error:
        raise write_error(error) from error
    sync_folder(folder)
    sync_folder(folder.parent)
    return entries


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise write_error(error, path.name) from error
    finally:
        os.close(handle)


def _move(folder: Path, target: Path, entries: list[_Entry]) -> int:
    """Move what is not in its place yet, and clean up; how many files were moved."""
    waiting = _waiting(folder, target, entries)
    _refuse_links(target, (entry.name for entry in waiting))
    try:
        for entry in waiting:
            place = target / entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # some mounts have one mode for all files
                shutil.copymode(place, folder / entry.name)
            os.replace(folder / entry.name, place)
    except OSError as error:
        if len(waiting) == len(entries) and all(entry.is_staged(folder) for entry in entries):
            _discard(folder)
            if error.errno == errno.EXDEV:
                raise OutputError(f"{target} holds another file system", help=_ELSEWHERE) from error
            raise write_error(error) from error
        help_text = f"nothing is lost: run 'ckptkit validate --fix {target}' again when the cause is gone"
        raise OutputError(f"{target} is half changed: {error.strerror or error}", help=help_text) from error
    for entry in waiting:
        if not entry.is_in_place(target):
            raise OutputError(f"{target / entry.name} is not what was written", help="another process changes it too")
    if confirm(f"the files of {target} are in place", _folders(target, entries)):
        _discard(folder)
    return len(waiting)


def _folders(target: Path, entries: Iterable[_Entry]) -> list[Path]:
    """Every folder in which an entry may be new."""
    found = {target / parent for entry in entries for parent in Path(entry.name).parents}
    return sorted(found, reverse=True)


def _discard(folder: Path) -> None:
    """Remove a staged folder, its marker before anything else: without one, nothing that is missing is missed.

    What cannot be removed now is removed by the next run.
    """
    try:
        with suppress(FileNotFoundError):
            os.unlink(folder / _COMPLETE)
        sync_folder(folder)
    except (OSError, OutputError):
        return
    shutil.rmtree(folder, ignore_errors=True)
