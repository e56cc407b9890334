"""Where a checkpoint's files come from: a listing and ranged reads, local here, remote elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ckptkit.errors import ContainerError, Fault, UsageError, excerpt, printable
from ckptkit.storage.file_names import UNFINISHED, is_utf8, staged_folder
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.near import folder_near
from ckptkit.storage.payload import ByteRange
from ckptkit.storage.traffic import Traffic

#: Folders of version control and of the hub library's own bookkeeping: not part of a checkpoint.
BOOKKEEPING = frozenset({".git", ".cache", ".huggingface", "__pycache__"})

_NO_LINK = "replace the link by the file itself"


class FileEntry(NamedTuple):
    """A file of a checkpoint: its name relative to the root, with forward slashes, and its size in bytes."""

    name: str
    size: int


class Traits(NamedTuple):
    """How a source is best read.

    ``gap``: a hole between two wanted ranges that is cheaper to read than to ask around, bytes. ``workers``: how many
    requests serve it well at once. ``remote``: whether a request takes so long that guessing a header's length pays.
    ``first_read``: how much of a shard is read at first, bytes: usually the whole header, of 1,000 tensors
    or so.
    """

    gap: int = 4096
    workers: int = 1
    remote: bool = False
    first_read: int = 1 << 17


class Source(Protocol):
    """Read access to the files of one checkpoint. Classes that name it as their base inherit what suits a folder."""

    @property
    def label(self) -> str:
        """What a person calls it: a path or a URL."""

    @property
    def traits(self) -> Traits:
        """How it is best read."""
        return Traits()

    @property
    def root(self) -> Path | None:
        """The folder on this machine that it is, if it is one."""
        return None

    @property
    def traffic(self) -> Traffic | None:
        """What reading it has cost so far; None where that is not counted, as for a folder."""
        return None

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """Read a range, or the rest of a file from ``start``: all of it, or ContainerError."""

    def origin(self, span: ByteRange) -> ByteRange | None:
        """Where the bytes of a range are stored; None where they are computed, or lie in several places."""
        return span

    def local_path(self, name: str) -> Path | None:
        """The file on this machine's disk, when it is there."""

    def state(self, name: str) -> FileState | None:
        """What a file was when the source was listed; None where it cannot change, or nobody has looked."""
        return None


class LocalSource(Source):
    """A folder on this machine.

    Symbolic links are followed only while they stay inside the folder. The hub library's cache is the one
    exception: there, a snapshot's files are links into the ``blobs`` folder of the same repository. Only files of
    the listing can be read, so no name in an index or a plan can lead anywhere else, and only as long as they are what
    they were when they were listed: nobody is told of half of an old file and half of a new one.
    """

    def __init__(self, root: Path) -> None:
        try:
            exists = root.exists()
        except OSError as error:
            raise UsageError(f"{root} cannot be looked at: {error.strerror}") from error
        if not exists:
            near, help_text = folder_near(root), "give the path of a checkpoint folder"
            raise UsageError(f"{root} does not exist", help=f"did you mean {near}? {help_text}" if near else help_text)
        if not root.is_dir():
            raise UsageError(
                f"{root} is not a folder", help="give the folder that holds config.json and the shards, not one file"
            )
        _refuse_half_changed(root)
        self._root = root
        self._faults: list[Fault] = []
        self._states = dict(self._scan())
        self._entries = tuple(sorted(FileEntry(name, state.size) for name, state in self._states.items()))

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.root)

    @property
    def root(self) -> Path:
        """The folder that it is."""
        return self._root

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""
        return self._entries

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""
        return tuple(self._faults)

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
        state = self._states.get(name)
        if state is None:
            raise ContainerError(f"{printable(name)} is not among the files of {self.root}")
        wanted = state.size - start if nbytes is None else nbytes
        if start + wanted > state.size:
            raise ContainerError(f"{self.root / name} ends at byte {state.size}, before byte {start + wanted}")
        try:
            with open(self.root / name, "rb", buffering=0) as file:
                file.seek(start)
                data = _read_fully(file.read, wanted)
                now = FileState.of(os.fstat(file.fileno()))
        except OSError as error:
            raise ContainerError(f"{self.root / name} cannot be read: {error.strerror or error}") from error
        if now != state or len(data) < wanted:
            raise source_changed(self.root / name, "read", "became shorter" if now.size < state.size else "changed")
        return data

    def local_path(self, name: str) -> Path:
        """The file on this machine, where it is on one."""
        return self.root / name

    def state(self, name: str) -> FileState | None:
        """What a file was when the folder was listed."""
        return self._states.get(name)

    def _scan(self) -> Iterator[tuple[str, FileState]]:
        """Walk the folder; what cannot be part of a checkpoint is left out, with a fault."""
        allowed = self._allowed_roots()
        pending = [""]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(self.root / prefix) as listing:
                    children = list(listing)
            except OSError as error:
                if not prefix:
                    raise ContainerError(f"{self.root} cannot be listed: {error.strerror or error}") from error
                self._note("folder-unreadable", "the folder cannot be listed", prefix.rstrip("/"), f"{error}")
                continue
            for child in children:
                name = f"{prefix}{child.name}"
                if child.name.startswith(".") and child.name.endswith(UNFINISHED):
                    continue
                try:
                    if not self._is_usable(name, child, allowed):
                        continue
                    if not child.is_dir():
                        yield name, FileState.of(child.stat())
                    elif child.name not in BOOKKEEPING:
                        pending.append(f"{name}/")
                except OSError as error:
                    self._note("file-unreadable", "the file cannot be examined", name, f"{error}")

    def _is_usable(self, name: str, child: os.DirEntry[str], allowed: tuple[Path, ...]) -> bool:
        """Whether a name leads to a file or folder of this checkpoint; a fault if not."""
        if not is_utf8(child.name):
            self._note("file-name", "a file name that is not UTF-8", name, printable(child.name), "rename the file")
            return False
        if child.is_symlink():
            link = excerpt(os.readlink(child.path))
            target = Path(os.path.realpath(child.path))
            if not target.exists():
                self._note("broken-link", "a symbolic link to nothing", name, link, "fetch the file again")
                return False
            if target.is_dir():
                self._note("linked-folder", "a symbolic link to a folder is not followed", name, link, _NO_LINK)
                return False
            if not any(target.is_relative_to(root) for root in allowed):
                self._note("outside-folder", "a symbolic link leaves the checkpoint folder", name, link, _NO_LINK)
                return False
        if not child.is_dir() and not child.is_file():
            self._note("not-a-file", "neither a file nor a folder", name, "a pipe, socket or device", "remove it")
            return False
        return True

    def _allowed_roots(self) -> tuple[Path, ...]:
        """The folder itself and, when it lies in the hub library's cache, the blobs of the same repository."""
        resolved = self.root.resolve()
        for ancestor in resolved.parents:
            if ancestor.name == "snapshots":
                return (resolved, ancestor.parent / "blobs")
        return (resolved,)

    def _note(self, kind: str, message: str, name: str, found: str, help: str | None = None) -> None:
        self._faults.append(Fault(kind, message, printable(name), None, "a file inside the folder", found, help))


def _refuse_half_changed(root: Path) -> None:
    """Refuse a folder of which some files are new and some old, since a replacement was interrupted."""
    if os.path.lexists(staged_folder(Path(os.path.realpath(root)))):
        from ckptkit.storage.replace import unfinished

        folder = unfinished(root)
        if folder is not None:
            help_text = f"finish it: ckptkit validate --fix {root}"
            raise ContainerError(f"{root} is half changed: a fix was interrupted, see {folder}", help=help_text)


def _read_fully(read: Callable[[int], bytes | None], nbytes: int) -> bytes:
    """Read until ``nbytes`` are there or the file ends: one call of the system stops short at 2 GiB."""
    data = read(nbytes) or b""
    if len(data) == nbytes:
        return data
    parts = [data]
    missing = nbytes - len(data)
    while missing and (data := read(missing) or b""):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
