"""Replacing some files of a folder so that an interruption never loses anything.

New files are staged beside the folder and made durable before the first old one goes. A marker then declares the set
complete, and each file is renamed into its place: shards first, the index and the config last, so that the files that
describe the others are the last to change. Should the machine stop in between, the marker tells the next run to finish.
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

from ckptkit.errors import OutputError
from ckptkit.storage.copy import write_error
from ckptkit.storage.staging import sync_folder

_MARK = ".ckptkit-replace-"
_COMPLETE = ".complete"
_ELSEWHERE = "write to a new folder instead: --output DIR"


@contextmanager
def replacing(root: Path) -> Iterator[Path]:
    """A folder to be filled with new versions of files of ``root``; on success they take the old ones' places.

    Before the block, an interrupted replacement of the same folder is finished. If the block raises, nothing changes.
    """
    target = _checked(root)
    finish_interrupted(target)
    folder = target.parent / f".{target.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written: {error.strerror}", help=_ELSEWHERE) from error
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
            _refuse_links(target, folder)
            _declare_complete(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _move(folder, target)
    finally:
        os.close(lock)


def finish_interrupted(root: Path) -> int:
    """Finish or discard what an interrupted run left beside ``root``; how many files were moved into place."""
    target, moved = Path(os.path.realpath(root)), 0
    for folder in _left_behind(target):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{root} is being changed by another process") from None
        else:
            if (folder / _COMPLETE).exists():
                moved += _move(folder, target)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
    return moved


def _left_behind(target: Path) -> list[Path]:
    prefix = f".{target.name}{_MARK}"
    return sorted(path for path in target.parent.iterdir() if path.name.startswith(prefix) and path.is_dir())


def _checked(root: Path) -> Path:
    if Path(os.path.abspath(root)).parent.name == "snapshots":
        raise OutputError(f"{root} belongs to the hub's cache and is not ours to change", help=_ELSEWHERE)
    target = Path(os.path.realpath(root))
    if not os.access(target, os.W_OK):
        raise OutputError(f"{root} cannot be written", help=_ELSEWHERE)
    return target


def _refuse_links(target: Path, folder: Path) -> None:
    for name in _staged(folder):
        if (target / name).is_symlink():
            raise OutputError(f"{target / name} is a symbolic link; its target is not ours to change", help=_ELSEWHERE)


def _staged(folder: Path) -> list[str]:
    """The staged files in the order in which they are moved: those that describe others come last."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != _COMPLETE]
    return sorted(names, key=lambda name: (name.endswith(".json"), name.endswith("config.json"), name))


def _declare_complete(folder: Path) -> None:
    for inner in {path.parent for path in folder.rglob("*")}:
        sync_folder(inner)
    with open(folder / _COMPLETE, "xb") as marker:
        os.fsync(marker.fileno())
    sync_folder(folder)


def _move(folder: Path, target: Path) -> int:
    names = _staged(folder)
    try:
        for name in names:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.copymode(place, folder / name)
            os.replace(folder / name, place)
        for parent in {(target / name).parent for name in names}:
            sync_folder(parent)
    except OSError as error:
        if error.errno == errno.EXDEV:
            shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"{target} is a file system of its own", help=_ELSEWHERE) from error
        raise write_error(error) from error
    shutil.rmtree(folder, ignore_errors=True)
    return len(names)
