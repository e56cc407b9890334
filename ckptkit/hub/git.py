"""What a git repository is about to publish: the files of a commit, with LFS pointers resolved to their content.

A clone of a Hub repository holds its shards as pointers in the commits, and as objects under ``.git/lfs``. A
pointer in a commit is therefore no fault. When its object is not here either, the content was never fetched and is
on the Hub already: it is named as not checked, and nothing is claimed about it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ckptkit.errors import UsageError
from ckptkit.hub.outgoing import Content, folder_contents
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE, SHARD_SUFFIX
from ckptkit.storage.header import LFS_SIGNATURE
from ckptkit.storage.index import INDEX_FILE

NO_COMMIT = re.compile(r"^0+$")
_POINTER_SIZE = 1024
_POINTER_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
#: What a judgement reads; all else in a commit (tokenizers, images) stays where it is.
_JUDGED = (SHARD_SUFFIX, ".json", ".md", ".yaml")


@record
class Published:
    """The files of a commit or folder that a judgement needs, and the shards whose content is not on this machine."""

    contents: dict[str, Content]
    unresolved: tuple[str, ...]


@record
class GitRepository:
    """A clone: its work tree, and the folder of LFS objects."""

    root: Path
    lfs_objects: Path

    @classmethod
    def at(cls, path: Path) -> GitRepository:
        """The repository that a path lies in. Raises UsageError when there is none."""
        if not path.exists():
            raise UsageError(f"{path} does not exist", help="give the path of a git clone")
        root = Path(_text(path, "rev-parse", "--show-toplevel"))
        common = path / _text(path, "rev-parse", "--git-common-dir")
        configured = _git(path, "config", "--path", "lfs.storage", check=False).decode().strip()
        storage = common / configured if configured else common / "lfs"
        return cls(root, storage.resolve() / "objects")

    def hooks(self) -> Path:
        """The folder that git looks for hooks in. Raises UsageError when it is shared with other repositories."""
        folder = (self.root / _text(self.root, "rev-parse", "--git-path", "hooks")).resolve()
        inside = (self.root.resolve(), (self.root / _text(self.root, "rev-parse", "--git-common-dir")).resolve())
        if not any(folder.is_relative_to(place) for place in inside):
            help_text = "unset core.hooksPath for this repository, or call 'ckptkit hook pre-push' from that hook"
            raise UsageError(f"the hooks of {self.root} are in {folder}, which it does not own", help=help_text)
        return folder

    def changed(self, old: str, new: str) -> list[str]:
        """Files that a push brings: those that differ from ``old``, or for a new branch those of its new commits."""
        if not NO_COMMIT.match(old) and self._knows(old):
            return _names(_git(self.root, "diff", "--name-only", "--no-renames", "-z", old, new))
        commits = (new, "--not", "--remotes")
        return _names(_git(self.root, "log", "--format=", "--name-only", "--no-renames", "-m", "-z", *commits))

    def commit(self, commit: str) -> Published:
        """The files of a commit."""
        blobs = {}
        for line in _names(_git(self.root, "ls-tree", "-r", "-z", commit)):
            properties, _, name = line.partition("\t")
            mode, kind, identity = properties.split()
            if kind == "blob" and mode != "120000" and name.endswith(_JUDGED):
                blobs[name] = identity
        return self._resolved(dict(zip(blobs, self._blobs(blobs.values()), strict=True)))

    def folder(self, folder: Path) -> Published:
        """The files of a folder of the work tree."""
        return self._resolved(folder_contents(folder))

    def _resolved(self, contents: dict[str, Content]) -> Published:
        found: dict[str, Content] = {}
        unresolved = []
        for name, content in contents.items():
            oid = _pointer(content)
            if oid is None:
                found[name] = content
                continue
            stored = self.lfs_objects / oid[:2] / oid[2:4] / oid
            if stored.is_file():
                found[name] = stored
            else:
                unresolved.append(name)
        return Published(found, tuple(unresolved))

    def _knows(self, commit: str) -> bool:
        return bool(_git(self.root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False))

    def _blobs(self, identities: Iterable[str]) -> list[bytes]:
        """The contents of blobs, from one process."""
        wanted = list(identities)
        raw = _git(self.root, "cat-file", "--batch", input="".join(f"{identity}\n" for identity in wanted).encode())
        found = []
        position = 0
        for _ in wanted:
            line_end = raw.index(b"\n", position)
            size = int(raw[position:line_end].split()[-1])
            found.append(raw[line_end + 1 : line_end + 1 + size])
            position = line_end + 1 + size + 1
        return found


def touches_checkpoint(names: Iterable[str]) -> bool:
    """Whether any of these files decides what a checkpoint is."""
    decisive = (CONFIG_FILE, INDEX_FILE)
    return any(name.endswith(SHARD_SUFFIX) or name.rpartition("/")[2] in decisive for name in names)


def _pointer(content: Content) -> str | None:
    """The object id of a Git LFS pointer; None for any other content."""
    if isinstance(content, Path):
        if content.stat().st_size > _POINTER_SIZE:
            return None
        content = content.read_bytes()
    if not isinstance(content, bytes) or len(content) > _POINTER_SIZE or not content.startswith(LFS_SIGNATURE):
        return None
    match = _POINTER_OID.search(content)
    return match[1].decode() if match else None


def _names(listing: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listing.split(b"\0") if name]


def _text(path: Path, *arguments: str) -> str:
    return _git(path, *arguments).decode().strip()


def _git(path: Path, *arguments: str, input: bytes | None = None, check: bool = True) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(path), *arguments], input=input, capture_output=True, check=False, env=_environment()
        )
    except FileNotFoundError:
        raise UsageError("git is not installed") from None
    if check and done.returncode:
        said = (done.stderr.decode(errors="replace").splitlines() or [""])[0]
        raise UsageError(f"{path}: {said or 'git failed'}", help="give the path of a git clone")
    return done.stdout


def _environment() -> dict[str, str]:
    """Inside a hook git sets GIT_DIR, relative to another folder than the one that is asked about here."""
    return {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_PREFIX")}
