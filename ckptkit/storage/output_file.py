"""Files that people name for what is said to them: a report's page, what would be printed.

What is there is overwritten, whole or not at all, as everybody expects of a report that is made again; but never a
config, nor a file beside shards: it may belong to the checkpoint, and is not ours. Devices and pipes are written to.
"""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import OutputError
from ckptkit.storage.beside import write_beside
from ckptkit.storage.container import CONFIG_FILE
from ckptkit.storage.copy import write_error
from ckptkit.storage.index import INDEX_FILE, SHARD_SUFFIX
from ckptkit.storage.locate import PathLike, non_empty

#: Where a file stands for something else, such as standard output, that must not be replaced by another one.
_STANDS_FOR = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")


def check_output_file(path: PathLike) -> Path:
    """The file behind a name, before there is anything to write: where a symbolic link leads.

    Raises UsageError for an empty name, OutputError where nothing can be written.
    """
    named = Path(non_empty(path)).absolute()
    if str(named).startswith(_STANDS_FOR):
        return named
    place = Path(os.path.realpath(named))
    if place.is_dir():
        raise OutputError(f"{path} is a folder", help="give the name of a file")
    if not place.parent.is_dir():
        raise OutputError(f"{place.parent} does not exist", help="create it first")
    if place.exists() and (_is_a_checkpoints(named) or _is_a_checkpoints(place)):
        help_text = "choose a new name, or remove it; nothing of a checkpoint is ever overwritten"
        raise OutputError(f"{path} exists, and lies in a checkpoint", help=help_text)
    if not os.access(place.parent if _is_replaced(place) else place, os.W_OK):
        help_text = "choose a folder that you may write to"
        raise OutputError(f"{place.parent} cannot be written", help=help_text)
    return place


def write_output_file(path: PathLike, data: bytes) -> None:
    """Put ``data`` into a file that :func:`check_output_file` lets pass. Raises OutputError, and what it raises."""
    place = check_output_file(path)
    try:
        if _is_replaced(place):
            write_beside(place, data)
        else:
            place.write_bytes(data)
    except OSError as error:
        raise write_error(error, os.fspath(path)) from error


def _is_a_checkpoints(place: Path) -> bool:
    """Whether a file is a config or an index, or lies beside shards."""
    names = os.listdir(place.parent)
    return place.name in (CONFIG_FILE, INDEX_FILE) or any(name.endswith(SHARD_SUFFIX) for name in names)


def _is_replaced(place: Path) -> bool:
    """Whether a new file takes the place of the old one: of devices and pipes it must not."""
    return not str(place).startswith(_STANDS_FOR) and (place.is_file() or not place.exists())
