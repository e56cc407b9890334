"""What lies below a folder: checkpoints in it, and the snapshot of a repository in the hub library's cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ckptkit.errors import Fault, UsageError, plural
from ckptkit.storage.file_state import FileState
from ckptkit.storage.index import SHARD_SUFFIX
from ckptkit.storage.source import FileEntry, Source, Traits
from ckptkit.storage.traffic import Traffic

#: How the folder of a model's repository in the hub library's cache is called.
_CACHED = "models--"
_SNAPSHOTS, _MAIN = "snapshots", "refs/main"
_SHOWN = 4


class Below(NamedTuple):
    """A checkpoint in a folder below: its name relative to the folder, its weight files and their bytes."""

    name: str
    files: int
    nbytes: int


def checkpoints_below(entries: Iterable[FileEntry]) -> tuple[Below, ...]:
    """Every folder below that holds safetensors files itself, by name."""
    found: dict[str, Below] = {}
    for name, size in entries:
        folder, slash, _ = name.rpartition("/")
        if slash and name.endswith(SHARD_SUFFIX):
            known = found.get(folder, Below(folder, 0, 0))
            found[folder] = Below(folder, known.files + 1, known.nbytes + size)
    return tuple(sorted(found.values()))


def hint(label: str, below: tuple[Below, ...]) -> str:
    """What to give instead of a folder that only holds checkpoints."""
    shown = ", ".join(item.name for item in below[:_SHOWN]) + (", ..." if len(below) > _SHOWN else "")
    if len(below) == 1:
        return f"a checkpoint lies in it: give {label}/{below[0].name}"
    return f"{plural(len(below), 'checkpoint')} lie in it ({shown}): give one of them, {label}/{below[0].name}"


class FolderBelow(Source):
    """A folder of a source, seen as a source of its own."""

    def __init__(self, source: Source, folder: str) -> None:
        self.source, self.folder = source, f"{folder}/"

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.source.label}/{self.folder[:-1]}"

    @property
    def traits(self) -> Traits:
        """How it is best read."""
        return self.source.traits

    @property
    def traffic(self) -> Traffic | None:
        """What reading the whole source has cost so far."""
        return self.source.traffic

    def files(self) -> tuple[FileEntry, ...]:
        """Every file below the folder, by its name there."""
        start = len(self.folder)
        return tuple(
            FileEntry(entry.name[start:], entry.size)
            for entry in self.source.files()
            if entry.name.startswith(self.folder)
        )

    def faults(self) -> tuple[Fault, ...]:
        """None: what is wrong with the listing is said of the whole source."""
        return ()

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
        return self.source.read(self.folder + name, start, nbytes)

    def local_path(self, name: str) -> Path | None:
        """The file on this machine, where it is on one."""
        return self.source.local_path(self.folder + name)

    def state(self, name: str) -> FileState | None:
        """What a file was when the whole source was listed."""
        return self.source.state(self.folder + name)


def snapshot_of(folder: Path) -> Path:
    """The snapshot that a repository's folder in the hub library's cache stands for; any other folder itself.

    That is the one that ``refs/main`` names, or the only one. Raises UsageError where neither says which.
    """
    if not folder.name.startswith(_CACHED) or not (folder / _SNAPSHOTS).is_dir():
        return folder
    try:
        snapshots = sorted(child.name for child in (folder / _SNAPSHOTS).iterdir() if child.is_dir())
        named = (folder / _MAIN).read_text("utf-8").strip() if (folder / _MAIN).is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder} cannot be looked at: {error}") from error
    if named in snapshots:
        return folder / _SNAPSHOTS / named
    if len(snapshots) == 1:
        return folder / _SNAPSHOTS / snapshots[0]
    what = "no snapshot" if not snapshots else f"{len(snapshots)} snapshots, and {_MAIN} names none of them"
    help_text = (
        "download the model again" if not snapshots else f"give one of them: {folder}/{_SNAPSHOTS}/{snapshots[0]}"
    )
    raise UsageError(f"{folder} holds {what}", help=help_text)
