"""Replacing some files of a folder so that an interruption never loses anything.

New files are staged in a folder beside the target and made durable before the first old one goes. A marker then
declares the set complete, and each file is renamed into its place: shards first, the index and the config last, so
that the files that describe the others are the last to change. Signals wait until all are in place. Should the machine
stop in between, the target is read by nobody until the next ``--fix`` has finished the job.

A staged folder may also come from a stranger, in an archive or a repository, or be older than what now lies in the
target. So the marker names the target and every file that is to go, by inode, size and time; a folder whose marker does
not fit is never acted on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptkit.errors import OutputError
from ckptkit.storage.copy import write_error
from ckptkit.storage.source import staged_folder
from ckptkit.storage.staging import sync_folder

_COMPLETE = ".complete"
_ELSEWHERE = "write to a new folder instead: --output DIR"
#: Signals that ask a program to stop.
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def replacing(root: Path) -> Iterator[Path]:
    """A folder to be filled with new versions of files of ``root``; on success they take the old ones' places.

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
            raise OutputError(f"{folder} is in the way, and not what a --fix left", help=help_text) from None
        except OSError as error:
            raise OutputError(f"{target.parent} cannot be written: {error.strerror}", help=_ELSEWHERE) from error
        try:
            if folder.stat().st_dev != target.stat().st_dev:
                raise OutputError(f"{target} is a file system of its own", help=_ELSEWHERE)
            yield folder
            _refuse_links(target, _staged(folder))
            _declare_complete(folder, target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _move(folder, target)


def finish_interrupted(root: Path) -> int:
    """Finish or discard what an interrupted run left beside ``root``; how many files were moved into place."""
    target = Path(os.path.realpath(root))
    if not staged_folder(target).exists():
        return 0
    with _locked(target):
        return _finish(target)


def unfinished(root: Path) -> Path | None:
    """The staged folder of an interrupted replacement, while some of the files of ``root`` are new and some old."""
    target = Path(os.path.realpath(root))
    folder = staged_folder(target)
    return folder if _marker(folder, target) is not None else None


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
        yield
    finally:
        os.close(lock)


def _finish(target: Path) -> int:
    folder = staged_folder(target)
    if folder.is_symlink() or not folder.is_dir():
        return 0
    if not (folder / _COMPLETE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    marker = _marker(folder, target)
    if marker is None:
        return 0
    for name in _staged(folder):
        if name not in marker["files"] or _identity(target / name) != marker["files"][name]:
            help_text = f"remove {folder} to keep what is there now"
            raise OutputError(f"{target / name} has changed since a --fix was interrupted", help=help_text)
    _refuse_links(target, _staged(folder))
    return _move(folder, target)


def _marker(folder: Path, target: Path) -> dict[str, Any] | None:
    """The marker of a complete staged folder; None unless it was made for this very target."""
    try:
        if folder.is_symlink():
            return None
        marker = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
        fits = marker["target"] == _target_identity(target) and isinstance(marker["files"], dict)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return marker if fits else None


def _target_identity(target: Path) -> int:
    """The folder's inode. The device's number may be another after a restart, and that is what this is for."""
    return target.stat().st_ino


def _identity(place: Path) -> list[int] | None:
    """What tells a file from any other that may take its name; None for no file."""
    try:
        state = place.lstat()
    except FileNotFoundError:
        return None
    return [state.st_ino, state.st_size, state.st_mtime_ns]


def _refuse_links(target: Path, names: list[str]) -> None:
    """Refuse a file that a symbolic link stands for, or that lies in a linked folder."""
    for name in names:
        for place in (target / name, *(target / parent for parent in Path(name).parents)):
            if place != target and place.is_symlink():
                raise OutputError(f"{place} is a symbolic link; its target is not ours to change", help=_ELSEWHERE)


def _staged(folder: Path) -> list[str]:
    """The staged files in the order in which they are moved: those that describe others come last."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != _COMPLETE]
    return sorted(names, key=lambda name: (name.endswith(".json"), name.endswith("config.json"), name))


def _declare_complete(folder: Path, target: Path) -> None:
    for inner in {path.parent for path in folder.rglob("*")}:
        sync_folder(inner)
    files = {name: _identity(target / name) for name in _staged(folder)}
    marker = json.dumps({"target": _target_identity(target), "files": files})
    with open(folder / _COMPLETE, "x", encoding="utf-8") as file:
        file.write(marker)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def _move(folder: Path, target: Path) -> int:
    names = _staged(folder)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        for name in names:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.copymode(place, folder / name)
            os.replace(folder / name, place)
        for parent in {(target / name).parent for name in names}:
            sync_folder(parent)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno == errno.EXDEV:  # a folder inside the target is a mount of its own
            shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"{target} holds another file system", help=_ELSEWHERE) from error
        raise write_error(error) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return len(names)
