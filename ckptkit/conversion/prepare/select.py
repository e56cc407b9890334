"""The modules that a user means."""

from __future__ import annotations

from collections.abc import Iterable

from ckptkit.errors import UsageError
from ckptkit.model.select import Selector, glob_or_exact


def selected(names: Iterable[str], patterns: tuple[str, ...], option: str = "modules") -> tuple[str, ...]:
    """The names that globs match, in their order; all of them without a pattern.

    Raises UsageError for a pattern that matches none, with the name that is nearest.
    """
    found = tuple(names)
    if not patterns:
        return found
    for pattern in patterns:
        own = glob_or_exact(pattern)
        if not any(own.matches(name) for name in found):
            import difflib  # what only an error needs is imported by it

            near = difflib.get_close_matches(pattern, found, 1, 0.0) or ["there are none"]
            raise UsageError(f"{pattern!r} in {option} matches no module", help=f"a module's name: {near[0]}")
    selector = Selector.of(glob_or_exact(pattern) for pattern in patterns)
    return tuple(name for name in found if selector.matches(name))
