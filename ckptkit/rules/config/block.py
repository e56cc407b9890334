"""Where the quantization config sits, and lists of words in it."""

from __future__ import annotations

from typing import Any

from ckptkit.checks.context import Context
from ckptkit.edits.changes import Path
from ckptkit.formats import config as location


def strings(value: Any) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def block_path(context: Context) -> Path:
    """The way to the quantization config, as edits spell it."""
    return tuple(context.located.path.split(".")) if context.located else (location.KEY,)
