"""Parsing text that a stranger wrote: JSON, TOML and YAML with a limit on size and depth, and one kind of error.

Every parser of Python's takes any depth that its stack allows, and then fails in a way of its own. Whatever reads such
text, from a folder or from a server, reads it through here; a ValueError says in words what is wrong.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any, NoReturn

from ckptkit.storage.strict_json import nesting

#: Deeper text is refused, so that nothing downstream that walks the result runs out of stack.
MAX_NESTING = 100
#: A side file: tokenizers of large vocabularies have 30 MB, everything else is far smaller.
MOST_SIDE_BYTES = 64 << 20
#: A settings file, a model card, or the metadata of one.
MOST_TEXT_BYTES = 4 << 20
_MOST_YAML_CHARACTERS = 1 << 20


def parse_json(data: bytes | str, *, most: int = MOST_SIDE_BYTES, constants: bool = True) -> Any:
    """A JSON value; without ``constants``, NaN and Infinity are refused, which configs of real models hold."""
    _check_size(data, most)
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        document = json.loads(text, parse_constant=None if constants else _refuse_constant)
    except RecursionError:
        raise ValueError("nesting without end") from None
    if text.count("[") + text.count("{") > MAX_NESTING and nesting(text) > MAX_NESTING:
        raise ValueError(f"more than {MAX_NESTING} levels of nesting")
    return document


def parse_toml(data: bytes) -> dict[str, Any]:
    """A TOML document."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    _check_size(data, MOST_TEXT_BYTES)
    text = data.decode("utf-8")
    try:
        document: dict[str, Any] = toml.loads(text)
        _check_depth(document)
    except RecursionError:
        raise ValueError("nesting without end") from None
    return document


def parse_yaml(text: str) -> Any:
    """A YAML document without anchors and aliases, by which a few lines could stand for billions."""
    import yaml  # type: ignore[import-untyped]

    if len(text) > _MOST_YAML_CHARACTERS:
        raise ValueError(f"more than {_MOST_YAML_CHARACTERS:,} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            if getattr(event, "anchor", None) is not None:
                raise ValueError("anchors and aliases are not read here")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:
                raise ValueError(f"more than {MAX_NESTING} levels of nesting")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    except (RecursionError, OverflowError, TypeError) as error:
        raise ValueError(f"a value that cannot be read ({type(error).__name__})") from None


def _check_size(data: bytes | str, most: int) -> None:
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes")


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"more than {MAX_NESTING} levels of nesting")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
