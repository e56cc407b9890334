"""What a file was when it was read, and the error for one that is not the same any more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ckptkit.errors import SourceChanged, printable


class FileState(NamedTuple):
    """What tells a file from what it was before, and from another that took its name.

    ``modified`` is the time of the last change in nanoseconds. What changes within one tick of the file system's clock
    and keeps its size is not told apart.
    """

    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileState:
        """The state of what ``stat`` or ``fstat`` has looked at."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


def source_changed(path: Path, done: str, how: str = "changed") -> SourceChanged:
    """The error for a file that changed while it was ``done``: read, copied, uploaded."""
    help_text = "do it again when nothing writes there any more"
    return SourceChanged(f"{printable(str(path))} {how} while it was {done}", help=help_text)
