"""How a dialect's facts are found: by its key or, where it is another's layout, by that one's.

``modelopt/file`` is a layout of ``modelopt``: what is known of ``modelopt`` holds for it where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

_Fact = TypeVar("_Fact")


def keys_of(dialect: str) -> tuple[str, ...]:
    """The key of a dialect and of what it is a layout of, the closest first.

    >>> keys_of("modelopt/file")
    ('modelopt/file', 'modelopt')
    """
    parts = dialect.split("/")
    return tuple("/".join(parts[:count]) for count in range(len(parts), 0, -1))


def is_among(dialect: str, keys: Collection[str]) -> bool:
    """Whether facts about these dialects are about one.

    >>> is_among("modelopt/file", ("modelopt",)), is_among("modelopt", ("modelopt/file",))
    (True, False)
    """
    return dialect in keys or ("/" in dialect and any(key in keys for key in keys_of(dialect)))


def closeness(dialect: str, keys: Collection[str]) -> int:
    """How closely facts about these dialects are about one: 0 where no dialect is named.

    >>> closeness("modelopt/file", ()), closeness("modelopt/file", ("modelopt",)), closeness("fp8", ("fp8",))
    (0, 1, 1)
    >>> closeness("modelopt/file", ("modelopt", "modelopt/file"))
    2
    """
    return max((key.count("/") + 1 for key in keys_of(dialect) if key in keys), default=0)


def fact_of(dialect: str, facts: Mapping[str, _Fact]) -> _Fact | None:
    """What is known of a dialect; None for nothing."""
    return next((facts[key] for key in keys_of(dialect) if key in facts), None)
