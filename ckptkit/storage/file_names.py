"""Names of files and folders: which a checkpoint's files may have, and which our own hidden ones have."""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import Fault, printable
from ckptkit.storage.index import is_inside

#: Bytes that file systems take for a name.
_LONGEST_PART = 255
#: Bytes of a folder's name that a hidden folder beside it repeats: file systems allow names of 255.
_NAME_BYTES = 150


#: How the name of a file ends that is written beside its place and was not renamed yet.
UNFINISHED = ".ckptkit-new"


def hidden_name(target: Path, mark: str) -> str:
    """What a hidden folder beside ``target`` is called, or what its name begins with."""
    name = os.fsencode(target.name)[:_NAME_BYTES].decode("utf-8", "ignore")
    return f".{name}{mark}"


def staged_folder(target: Path) -> Path:
    """Where new versions of some files of a folder lie before they take the old ones' places."""
    return target.parent / hidden_name(target, ".ckptkit-replace")


def is_utf8(name: str) -> bool:
    """Whether a file name is text; Python smuggles other bytes through as lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def name_fault(name: str) -> Fault | None:
    """The fault of a remote file name that cannot be the name of a file inside a folder, if it has one."""
    if not is_utf8(name):
        return Fault("file-name", "a file name that is not UTF-8", printable(name), help="rename the file")
    if is_inside(name) and max(len(part.encode()) for part in name.split("/")) <= _LONGEST_PART:
        return None
    return Fault("outside-folder", "a file name that leaves the checkpoint folder", printable(repr(name)[:300]))
