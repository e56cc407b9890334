"""The class by which an engine serves models that it has no class of its own for."""

from __future__ import annotations

from collections.abc import Callable

from ckptkit.record import record


@record
class StandIn:
    """The class by which an engine serves those that it has none of its own for.

    ``classes`` are those of which that was seen; ``below`` says before which beginnings it leaves entries of lists and
    patterns as they are: it puts the first in front of all others. It fuses nothing. ``refused`` are classes that it
    cannot serve. What stops it stops every class that an engine has not, whether it would serve it or not.
    """

    name: str
    classes: frozenset[str]
    below: tuple[str, ...]
    refused: Callable[[], frozenset[str]] = frozenset
