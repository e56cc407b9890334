"""From what a person writes to where the files of a checkpoint come from."""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import UsageError
from ckptkit.storage.below import snapshot_of
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.source import LocalSource, Source

PathLike = str | os.PathLike[str]


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


def open_files(path: PathLike) -> Container:
    """Parse the headers, index and config of a checkpoint without asking what they mean.

    Raises UsageError when the folder does not exist, ContainerError when it holds no safetensors file at all.
    """
    return open_container(source_of(path))


def non_empty(path: PathLike) -> str:
    """A path as text. Raises UsageError for an empty one: an unset variable most likely, and not the current folder."""
    text = os.fspath(path)
    if not text:
        raise UsageError("the path is empty")
    return text
