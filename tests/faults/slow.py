"""``ckptkit`` in slow motion, for tests that interrupt it: bytes move in small chunks, with a pause after each.

Run as ``python slow.py FLAG ARGUMENTS...``; the file FLAG is made when the third chunk has been moved.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ckptkit.cli.main import main
from ckptkit.storage import copy

CHUNK = 1024
PAUSE = 0.02


def slow_down(flag: Path) -> None:
    """Make every method of moving bytes take its time."""
    count = copy.Copier._count
    chunks: list[int] = []

    def counted(self: copy.Copier, *arguments: object) -> None:
        count(self, *arguments)  # type: ignore[arg-type]
        chunks.append(1)
        if len(chunks) == 3:
            flag.touch()
        time.sleep(PAUSE)

    copy._CHUNK = CHUNK
    copy.Copier._count = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(Path(sys.argv.pop(1)))
    main()
