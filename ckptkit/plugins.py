"""What other packages add: formats, rules, engines and operations, found through entry points.

A package names in its metadata, under one of the groups below, objects or modules that ckptkit imports when it looks
for what is not built in. Looking costs about 20 ms once in a process, so nobody looks before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from ckptkit.errors import UsageError

FORMATS = "ckptkit.formats"
RULES = "ckptkit.rules"
ENGINES = "ckptkit.engines"
OPERATIONS = "ckptkit.operations"


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
    from importlib.metadata import entry_points

    return {group: tuple(entry_points(group=group)) for group in (FORMATS, RULES, ENGINES, OPERATIONS)}
