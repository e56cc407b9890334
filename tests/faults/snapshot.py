"""A folder's whole state, to see that a refusal or a failure has left it as it was."""

from __future__ import annotations

import os
from pathlib import Path


def snapshot(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    """Mode and content of everything in a folder, links not followed. Times of folders are not part of it."""
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for path in sorted([root, *root.rglob("*")]):
        mode = path.lstat().st_mode
        content: bytes | str | None = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (mode, content)
    return found
