"""Folders that somebody may have meant."""

from __future__ import annotations

from pathlib import Path


def folder_near(path: Path) -> str | None:
    """A folder that exists and is called almost as ``path``, which does not exist: written with the same parent."""
    from difflib import get_close_matches

    try:
        names = [child.name for child in path.parent.iterdir() if child.is_dir()]
    except OSError:
        return None
    near = get_close_matches(path.name, names, 1)
    return str(path.with_name(near[0])) if near else None
