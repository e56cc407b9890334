"""Where a quantization config sits in config.json, and how to write one back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckptkit.edits.changes import Path
from ckptkit.errors import FormatError
from ckptkit.formats.keys import ConfigKeys
from ckptkit.model import names
from ckptkit.storage.container import CONFIG_FILE

KEY = "quantization_config"
LEGACY_KEY = "compression_config"
NO_KEYS = ConfigKeys()


class Located(NamedTuple):
    """A quantization config, the JSON path at which it was found, empty for a whole file, and the file."""

    block: Mapping[str, Any]
    path: str
    file: str = CONFIG_FILE

    @property
    def way(self) -> tuple[str, ...]:
        """The path as edits spell it."""
        return tuple(self.path.split(".")) if self.path else ()


class Section(NamedTuple):
    """A place where readers look for a quantization config, with the keys that count there.

    ``block`` holds ``keys``; ``way`` leads to it in ``file``. ``skip_keys`` are those of the skip list, the one to
    speak of first.
    """

    block: Mapping[str, Any]
    way: Path
    file: str
    keys: ConfigKeys
    skip_keys: tuple[str, ...]


def nowhere(skip_keys: tuple[str, ...]) -> Section:
    """The place where a config would be, in a checkpoint that has none."""
    return Section({}, (KEY,), CONFIG_FILE, NO_KEYS, skip_keys)


def locate(config: Mapping[str, Any]) -> Located | None:
    """Find the quantization config: top level first, then the legacy key, then sub-configs."""
    for key in (KEY, LEGACY_KEY):
        if isinstance(config.get(key), dict):
            return Located(config[key], key)
    for outer in names.TEXT_CONFIGS:
        inner = config.get(outer)
        for key in (KEY, LEGACY_KEY):
            if isinstance(inner, dict) and isinstance(inner.get(key), dict):
                return Located(inner[key], f"{outer}.{key}")
    return None


def misplaced(config: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The path and the value of a quantization config that is no object, where no other one is an object."""
    if locate(config) is not None:
        return None
    places = [((), config), *(((outer,), config.get(outer)) for outer in names.TEXT_CONFIGS)]
    for way, holder in places:
        if isinstance(holder, Mapping) and holder.get(KEY) is not None:
            return ".".join((*way, KEY)), holder[KEY]
    return None


def missing(label: str) -> FormatError:
    """The error about a checkpoint of this label that is read by a format whose config it lacks."""
    return FormatError(f"{label}: config.json has no quantization_config")


def quant_method(block: Mapping[str, Any]) -> str:
    """The normalised ``quant_method``, or the empty string."""
    return str(block.get("quant_method") or "").lower().replace("_", "-")


def replaced(config: Mapping[str, Any], block: Mapping[str, Any] | None) -> dict[str, Any]:
    """config.json with another quantization config in the old one's place, or none; all other keys in their order."""
    located = locate(config)
    if located is None:
        return dict(config) if block is None else {**config, KEY: dict(block)}
    outer, _, key = located.path.rpartition(".")
    if outer:
        return {**config, outer: _swapped(config[outer], key, block)}
    return _swapped(config, key, block)


def _swapped(config: Mapping[str, Any], old: str, block: Mapping[str, Any] | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        if key == old:
            result.update({} if block is None else {KEY: dict(block)})
        elif key not in (KEY, LEGACY_KEY):
            result[key] = value
    return result
