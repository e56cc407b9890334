"""Keeping what was fetched in the hub library's cache, under names that are checked here.

The library names a file in its cache by the ETag that a server sends with it. What is kept here has the name of its own
hash, computed from what came, and only if the repository lists that hash: no server can choose a path.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ckptkit.errors import OutputError
from ckptkit.storage.beside import write_beside


def keep_in_cache(repo: str, commit: str, path: str, digest: str, data: bytes) -> None:
    """Put a file of a commit into the cache, where its content has the listed ``digest``; nothing where it cannot.

    ``digest`` is the sha256 of a file in LFS and the git blob id of any other, in lower-case hexadecimal.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if digest not in (hashlib.sha256(data).hexdigest(), blob_id(data)):
        return
    home = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    blob, pointer = home / "blobs" / digest, home / "snapshots" / commit / path
    try:
        for folder in (blob.parent, pointer.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            write_beside(blob, data)
        if not os.path.lexists(pointer):
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except (OSError, OutputError):
        return  # no cache, a full disk, no links: it is fetched again next time


def blob_id(data: bytes) -> str:
    """The id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
