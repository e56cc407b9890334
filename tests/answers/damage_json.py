"""Every place of a JSON document in turn: missing, null, of another type, another word."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from ckptkit.errors import json_path

Path = tuple[str | int, ...]

#: What each place becomes in turn, by the name under which it is recorded.
REPLACEMENTS: dict[str, Any] = {"null": None, "word": "odd", "number": -7, "list": [], "object": {}}


def places(document: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value below the top; of many alike items only those of the first and the last."""
    items: list[tuple[str | int, Any]] = []
    alike = False
    if isinstance(document, dict):
        items = list(document.items())
        alike = len(items) > 3 and all(isinstance(value, dict) for value in document.values())
    elif isinstance(document, list):
        items = list(enumerate(document))
        alike = len(items) > 2
    items = [items[0], items[-1]] if alike else items
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def damaged(document: Any, only: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The document with one place changed, under a name for it: ``weights.dynamic: null``."""
    for path in places(document):
        text = json_path(path)
        if not only or "missing" in only:
            yield f"{text}: missing", _changed(document, path, missing=True)
        for name, value in REPLACEMENTS.items():
            if not only or name in only:
                yield f"{text}: {name}", _changed(document, path, value)
        old = _at(document, path)
        if isinstance(old, bool):
            yield f"{text}: other", _changed(document, path, not old)
        elif isinstance(old, int):
            yield f"{text}: one more", _changed(document, path, old + 1)
        elif isinstance(old, dict) and not only:
            yield f"{text}: another key", _changed(document, path, {**old, "odd": 1})
            yield f"{text}: two of it", _changed(document, path, [old, old])
        elif isinstance(old, str) and old.upper() != old and not only:
            yield f"{text}: capitals", _changed(document, path, old.upper())


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def _changed(document: Any, path: Path, value: Any = None, *, missing: bool = False) -> Any:
    copy = deepcopy(document)
    owner = _at(copy, path[:-1])
    if missing:
        del owner[path[-1]]
    else:
        owner[path[-1]] = deepcopy(value)
    return copy
