"""What other packages add: formats, rules, engines and operations, found through entry points.

A package names in its metadata, under one of the groups below, objects or modules that ckptkit imports when it looks
for what is not built in. Asking :mod:`importlib.metadata` costs about 20 ms in a process, so it is asked only when an
installed package has such a group; whether one has is known in a millisecond.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from ckptkit.errors import UsageError

FORMATS = "ckptkit.formats"
RULES = "ckptkit.rules"
ENGINES = "ckptkit.engines"
OPERATIONS = "ckptkit.operations"
_GROUPS = (FORMATS, RULES, ENGINES, OPERATIONS)


class Plugin(NamedTuple):
    """Something that another package provides: the loaded object, and where it comes from, in words for errors."""

    value: Any
    origin: str
    package: str


def plugins(group: str) -> Iterator[Plugin]:
    """Everything that installed packages provide in a group. Raises UsageError with the package to blame."""
    for entry in _entries().get(group, ()):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        origin = f"entry point {entry.name!r} ({entry.value}) of {package}"
        try:
            value = entry.load()
        except Exception as error:
            raise refused(f"{origin} cannot be loaded: {type(error).__name__}: {error}", package) from error
        yield Plugin(value, origin, package)


def refused(message: str, package: str) -> UsageError:
    """A plugin that cannot be used, and the package that has to change."""
    return UsageError(message, help=f"repair or uninstall {package}")


@cache
def _entries() -> dict[str, tuple[Any, ...]]:
    """The entry points of all our groups, from one walk over the installed packages."""
    if not _may_be_provided():
        return {}
    from importlib.metadata import entry_points

    return {group: tuple(entry_points(group=group)) for group in _GROUPS}


def _may_be_provided() -> bool:
    """Whether an installed package names one of our groups; also true where packages are not in plain folders."""
    wanted = [f"[{group}]".encode() for group in _GROUPS]
    for finder in sys.meta_path:
        if hasattr(finder, "find_distributions") and getattr(finder, "__name__", "") != "PathFinder":
            return True
    for folder in dict.fromkeys(entry or os.curdir for entry in sys.path):
        try:
            names = os.listdir(folder)
        except NotADirectoryError:  # a zip file or an egg
            return True
        except OSError:
            continue
        for name in names:
            if name.lower().endswith((".dist-info", ".egg-info")) or name.lower() == "egg-info":
                try:
                    with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                        text = file.read()
                except OSError:
                    continue
                if any(group in text for group in wanted):
                    return True
    return False
