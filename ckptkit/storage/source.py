"""Where a checkpoint's files come from: a listing and ranged reads, local here, remote elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple, Protocol

from ckptkit.errors import ContainerError, Fault, UsageError

#: Folders of version control and of the hub library's own bookkeeping: not part of a checkpoint.
BOOKKEEPING = frozenset({".git", ".cache", ".huggingface", "__pycache__"})


class FileEntry(NamedTuple):
    """A file of a checkpoint: its name relative to the root, with forward slashes, and its size in bytes."""

    name: str
    size: int


class Source(Protocol):
    """Read access to the files of one checkpoint."""

    @property
    def label(self) -> str:
        """What a person calls it: a path or a URL."""

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """Read a range, or the rest of a file from ``start``."""

    def local_path(self, name: str) -> Path | None:
        """The file on this machine's disk, when it is there."""


class LocalSource:
    """A folder on this machine.

    Symbolic links are followed only while they stay inside the folder. The hub library's cache is the one
    exception: there, a snapshot's files are links into the ``blobs`` folder of the same repository.
    """

    def __init__(self, root: Path) -> None:
        if not root.exists():
            raise UsageError(f"{root} does not exist", help="give the path of a checkpoint folder")
        if not root.is_dir():
            raise UsageError(
                f"{root} is not a folder",
                help="give the folder that holds config.json and the shards, not one file",
            )
        self.root = root
        self._faults: list[Fault] = []
        self._entries = tuple(sorted(self._scan()))

    @property
    def label(self) -> str:
        return str(self.root)

    def files(self) -> tuple[FileEntry, ...]:
        return self._entries

    def faults(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        try:
            with open(self.root / name, "rb", buffering=0) as file:
                if start:
                    file.seek(start)
                return file.read(-1 if nbytes is None else nbytes) or b""
        except OSError as error:
            raise ContainerError(f"{self.root / name} cannot be read: {error.strerror or error}") from error

    def local_path(self, name: str) -> Path:
        return self.root / name

    def _scan(self) -> list[FileEntry]:
        entries: list[FileEntry] = []
        allowed = self._allowed_roots()
        pending = [""]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(self.root / prefix) as listing:
                    children = list(listing)
            except OSError as error:
                raise ContainerError(
                    f"{self.root / prefix} cannot be listed: {error.strerror or error}"
                ) from error
            for child in children:
                name = f"{prefix}{child.name}"
                if child.is_symlink() and not self._link_is_allowed(name, Path(child.path), allowed):
                    continue
                if child.is_dir():
                    if child.name not in BOOKKEEPING:
                        pending.append(f"{name}/")
                elif child.is_file():
                    entries.append(FileEntry(name, child.stat().st_size))
                elif not stat.S_ISREG(child.stat().st_mode):
                    self._faults.append(Fault("not-a-file", "neither a file nor a folder", name))
        return entries

    def _allowed_roots(self) -> tuple[Path, ...]:
        resolved = self.root.resolve()
        if resolved.parent.name == "snapshots":
            return (resolved, resolved.parent.parent / "blobs")
        return (resolved,)

    def _link_is_allowed(self, name: str, path: Path, allowed: tuple[Path, ...]) -> bool:
        target = Path(os.path.realpath(path))
        if not target.exists():
            self._faults.append(
                Fault("broken-link", "a symbolic link to nothing", name, found=os.readlink(path))
            )
            return False
        if target.is_dir():
            self._faults.append(Fault("linked-folder", "a symbolic link to a folder is not followed", name))
            return False
        if any(target.is_relative_to(root) for root in allowed):
            return True
        self._faults.append(
            Fault(
                "outside-folder",
                "a symbolic link leaves the checkpoint folder",
                name,
                found=os.readlink(path),
                help="replace the link by the file itself",
            )
        )
        return False
