"""What the Hub of the tests holds: repositories, their commits, and blobs that need no memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

#: Files that the Hub stores through LFS whatever their size.
LFS_SUFFIXES = (".safetensors", ".bin", ".gguf")
MAIN = "refs/heads/main"


class Blob:
    """Bytes with an identity. ``lfs`` files are served from another host, as the Hub does."""

    def __init__(self, data: bytes, *, lfs: bool = False) -> None:
        self._data = data
        self.size = len(data)
        self.lfs = lfs
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.blob_id = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id


class SparseBlob(Blob):
    """A file of any size that is ``pieces`` at their offsets and zeros elsewhere: an 8 GB shard in a few kilobytes."""

    def __init__(self, pieces: dict[int, bytes], size: int) -> None:
        super().__init__(b"".join(pieces.values()), lfs=True)
        self._pieces = pieces
        self.size = size

    def read(self, start: int, stop: int) -> bytes:
        data = bytearray(max(0, min(stop, self.size) - start))
        for offset, piece in self._pieces.items():
            first, last = max(start, offset), min(stop, offset + len(piece))
            if first < last:
                data[first - start : last - start] = piece[first - offset : last - offset]
        return bytes(data)


@dataclass
class Commit:
    """A tree with its message."""

    files: dict[str, Blob]
    message: str = ""
    description: str = ""
    parent: str | None = None


@dataclass
class Repo:
    """A model repository: refs to commits. ``gated`` and ``private`` need a token; nobody passes a gate."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Blob], ref: str = MAIN, message: str = "", description: str = "") -> str:
        """Put a tree on a ref; the commit's id."""
        parent = self.refs.get(ref)
        identity = repr((sorted((name, blob.etag) for name, blob in files.items()), parent, message, len(self.commits)))
        sha = hashlib.sha1(identity.encode()).hexdigest()
        self.commits[sha] = Commit(files, message, description, parent)
        self.refs[ref] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a full ref or a commit id names."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return self.refs[name]
        return revision if revision in self.commits else None

    def head(self, revision: str = "main") -> Commit:
        """The commit at a revision that exists."""
        sha = self.resolve(revision)
        if sha is None:
            raise KeyError(revision)
        return self.commits[sha]


def folder_blobs(folder: Path) -> dict[str, Blob]:
    """A folder's files as blobs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = Blob(path.read_bytes(), lfs=name.endswith(LFS_SUFFIXES))
    return found
