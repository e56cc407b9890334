"""Settings of ``validate`` from files: ``[tool.ckptkit]`` in pyproject.toml and ``.ckptkit.toml`` in a checkpoint.

From weak to strong: the defaults; the nearest pyproject.toml, from the current folder upwards, that has a
``[tool.ckptkit]`` table; ``.ckptkit.toml`` in the checkpoint's folder; the command line. A stronger place replaces what
a weaker one says, but for two keys: ``extend-select`` and ``ignore`` add up, and a stronger ``select`` starts afresh,
so that what is asked for on the command line is not ignored because of a file.

A checkpoint may come from anywhere, and its own file with it. It can ask for more to be read, and hide warnings and
notes, which are counted where findings are shown. It cannot hide an error, turn unsafe fixes on or change the output.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.record import record
from ckptkit.storage.untrusted import MOST_TEXT_BYTES, parse_toml

PROJECT_FILE = "pyproject.toml"
CHECKPOINT_FILE = ".ckptkit.toml"


@record
class Settings:
    """What to check, for whom, and how to print it. ``files`` are the files that had a say."""

    select: tuple[str, ...] = ("ALL",)
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    level: str | None = None
    engines: tuple[str, ...] = ()
    tensor_parallel: tuple[int, ...] = ()
    gpu: str | None = None
    output_format: str = "text"
    unsafe_fixes: bool = False
    files: tuple[str, ...] = ()

    def with_layer(self, layer: Mapping[str, Any], origin: str | None = None) -> Settings:
        """These settings under a stronger place, whose values have been checked.

        >>> Settings(ignore=("CK1",)).with_layer({"select": ("CK3",), "ignore": ("CK301",)}).ignore
        ('CK301',)
        """
        ignore = () if "select" in layer else self.ignore
        return replace(
            self,
            **{
                **layer,
                "extend_select": (*self.extend_select, *layer.get("extend_select", ())),
                "ignore": (*ignore, *layer.get("ignore", ())),
                "files": (*self.files, *((origin,) if origin else ())),
            },
        )


@record
class Layer:
    """What one place says, checked. ``own``: the file lies in the checkpoint, and may be a stranger's."""

    origin: str
    values: Mapping[str, Any]
    own: bool = False


def load_layers(checkpoint: Path | None = None, start: Path | None = None) -> tuple[Layer, ...]:
    """What files say, the weaker first. Raises UsageError that names the key and the file."""
    found = []
    project = find_project(Path.cwd() if start is None else start)
    if project is not None:
        path, table = project
        found.append(Layer(str(path), checked(table, f"{path} [tool.ckptkit]: ", PROJECT_KEYS)))
    own = checkpoint / CHECKPOINT_FILE if checkpoint is not None else None
    if own is not None and os.path.isfile(own):
        found.append(Layer(str(own), checked(_read(own), f"{own}: ", CHECKPOINT_KEYS), own=True))
    return tuple(found)


def combine(layers: Iterable[Layer]) -> Settings:
    """The settings that layers give together, each over those before it."""
    settings = Settings()
    for layer in layers:
        settings = settings.with_layer(layer.values, layer.origin)
    return settings


def find_project(start: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The nearest pyproject.toml with a ``[tool.ckptkit]`` table, and the table."""
    for folder in (start.absolute(), *start.absolute().parents):
        path = folder / PROJECT_FILE
        # Most projects do not mention us; a TOML parser is imported only for those that do.
        if os.path.isfile(path) and b"ckptkit" in _bytes(path):
            tools = _read(path).get("tool")
            table = tools.get("ckptkit") if isinstance(tools, Mapping) else None
            if table is not None and not isinstance(table, Mapping):
                raise UsageError(f"{path}: [tool.ckptkit] must be a table, not {table!r}")
            if table is not None:
                return path, table
    return None


def checked(table: Mapping[str, Any], prefix: str, keys: Mapping[str, tuple[str, Checker]]) -> dict[str, Any]:
    """The values of a table by field name. Raises UsageError for an unknown key or a value of the wrong kind.

    ``prefix`` comes before the key in what is said: the file, or the dashes of an option.
    """
    values = {}
    for key, value in table.items():
        if key not in keys:
            help_text = did_you_mean(key, keys, "").strip() or f"known keys: {', '.join(keys)}"
            raise UsageError(f"{prefix}unknown key {key!r}", help=help_text)
        field, check = keys[key]
        try:
            values[field] = check(value)
        except ValueError as error:
            near = did_you_mean(str(value), error.allowed, "") if isinstance(error, _NotOneOf) else ""
            raise UsageError(f"{prefix}{key} must be {error}, not {value!r}", help=near.strip() or None) from None
    return values


def words(value: Any) -> tuple[str, ...]:
    """A list of strings, or one string with commas."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of strings")
    return tuple(text for item in value if (text := item.strip()))


def some_words(value: Any) -> tuple[str, ...]:
    """As :func:`words`, and at least one: an empty selection would call everything clean."""
    found = words(value)
    if not found:
        raise ValueError("one word at least")
    return found


def sizes(value: Any) -> tuple[int, ...]:
    """Whole numbers above zero, one at least, or a string of them with commas.

    >>> sizes("1, 2,8"), sizes([4])
    ((1, 2, 8), (4,))
    """
    if isinstance(value, str):
        value = [int(item) if item.isdecimal() else 0 for item in value.replace(",", " ").split()]
    found = tuple(value) if isinstance(value, Iterable) else ()
    if not found or not all(type(item) is int and item > 0 for item in found):
        raise ValueError("a list of whole numbers above zero")
    return found


def level(value: Any) -> str:
    """How much is read."""
    from ckptkit.checks.registry import Level

    return _one_of(value, tuple(item.name.lower() for item in Level))


def gpu(value: Any) -> str:
    """The capability of a kind of hardware, by its name or that of a product."""
    from ckptkit.engines.gpus import NAMES, by_name

    try:
        return by_name(value if isinstance(value, str) else "").capability
    except UsageError:
        raise _NotOneOf(NAMES) from None


def output_format(value: Any) -> str:
    """How findings are printed."""
    return _one_of(value, OUTPUT_FORMATS)


class _NotOneOf(ValueError):
    """A word that is none of those that are allowed."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"one of {', '.join(allowed)}")
        self.allowed = allowed


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    """The allowed word that a value is, written large or small. Raises ValueError that says what was expected."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word not in allowed:
        raise _NotOneOf(allowed)
    return str(word)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(_bytes(path))
    except ValueError as error:
        raise UsageError(f"{path}: {error}", help="this must be a TOML file") from error


@lru_cache(maxsize=2)
def _parsed(text: bytes) -> Mapping[str, Any]:
    """A document, which is asked for again for every checkpoint of a run."""
    return parse_toml(text)


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MOST_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


Checker = Callable[[Any], Any]
OUTPUT_FORMATS = ("text", "concise", "json", "sarif", "github", "junit")
#: Key in a file -> (field, what checks its value).
CHECKPOINT_KEYS: Mapping[str, tuple[str, Checker]] = {
    "select": ("select", some_words),
    "extend-select": ("extend_select", words),
    "ignore": ("ignore", words),
    "level": ("level", level),
    "for": ("engines", some_words),
    "tp": ("tensor_parallel", sizes),
}
PROJECT_KEYS: Mapping[str, tuple[str, Checker]] = {
    **CHECKPOINT_KEYS,
    "gpu": ("gpu", gpu),
    "output-format": ("output_format", output_format),
    "unsafe-fixes": ("unsafe_fixes", _flag),
}
