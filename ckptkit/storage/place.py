"""Where a checkpoint must lie to be written to or sent."""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import UsageError
from ckptkit.storage.remote import HUB_SCHEME


def local_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that ``path`` names. Raises UsageError for a URL, a repository's name or anything else."""
    text = os.fspath(path)
    if os.path.isdir(text):
        return Path(text)
    help_text = "give the path of a checkpoint folder"
    if "://" in text:
        fetch = "'hf download ORG/REPO --local-dir DIR'" if text.startswith(HUB_SCHEME) else "copy it"
        help_text = f"bring it to this machine first ({fetch}), and give its folder"
    raise UsageError(f"{text} is not a folder on this machine", help=help_text)
