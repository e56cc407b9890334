"""What the file system can do that a result is written to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ckptkit.storage.copy import Method, shares_blocks


@dataclass
class DestinationTraits:
    """How a folder is best written, as a source's traits say how that is best read.

    ``sample`` is a file that bytes are copied from, where there is one on this machine. Each trait is found out when it
    is asked for first: most results need no more room than there is, and nobody asks then whether blocks can be shared.
    """

    folder: Path
    sample: Path | None = None

    @cached_property
    def free(self) -> int:
        """The room that is left for who writes, in bytes."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    @cached_property
    def shares_blocks(self) -> bool:
        """Whether files here can take over blocks of the sample, which then take no room of their own."""
        return self.sample is not None and shares_blocks(self.sample, self.folder)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The ways to copy that may work, the cheapest first: beside sharing, nothing tells but trying."""
        return tuple(method for method in Method if self.shares_blocks or method is not Method.REFLINK)
