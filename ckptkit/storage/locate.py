"""From what a person writes to where the files of a checkpoint come from."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ckptkit.errors import UsageError
from ckptkit.storage.below import checkpoints_below, snapshot_of
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.index import SHARD_SUFFIX
from ckptkit.storage.source import LocalSource, Source

PathLike = str | os.PathLike[str]

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def source_of(path: PathLike) -> Source:
    """Where the files of a checkpoint come from: a folder, a repository on the Hub, or a URL.

    A folder of this name always wins; one of the hub library's cache (``models--org--name``) stands for its snapshot.
    Then ``hf://org/repo[@revision][/subfolder]`` or ``org/repo[@revision]``, and last any URL that fsspec reads
    (``s3://``, ``gs://``, ``file://``, ``memory://``). Raises UsageError for an empty path.
    """
    text = non_empty(path)
    if not os.path.lexists(text):
        # Half of a quick command's time would be imports.
        from ckptkit.storage.remote import open_remote

        remote = open_remote(text)
        if remote is not None:
            return remote
    return LocalSource(snapshot_of(Path(text)))


def folders_of_checkpoints(path: PathLike) -> tuple[str, ...]:
    """The checkpoints that a folder stands for: itself, or all that lie in it if it holds no weights of its own.

    Raises UsageError when the folder does not exist.
    """
    source = source_of(path)
    below = checkpoints_below(source.files())
    own = any("/" not in entry.name and entry.name.endswith(SHARD_SUFFIX) for entry in source.files())
    return (os.fspath(path),) if own or not below else tuple(os.path.join(path, item.name) for item in below)


def open_files(path: PathLike) -> Container:
    """Parse the headers, index and config of a checkpoint without asking what they mean.

    Raises UsageError when the folder does not exist, ContainerError when it holds no safetensors file at all.
    """
    return open_container(source_of(path))


def new_folder(path: PathLike) -> Path:
    """The folder on this machine that something is to be written into.

    Raises UsageError for an empty path, and for the URL of something else than a folder of this machine.
    """
    text = non_empty(path)
    if _URL.match(text):
        help_text = "give a folder; 'ckptkit upload FOLDER ORG/REPO' then puts it on the Hub"
        raise UsageError(f"{text} is no folder on this machine", help=help_text)
    return Path(text)


def non_empty(path: PathLike) -> str:
    """A path as text. Raises UsageError for an empty one: an unset variable most likely, and not the current folder."""
    text = os.fspath(path)
    if not text:
        raise UsageError("the path is empty")
    return text
