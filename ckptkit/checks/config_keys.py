"""What a quantization config says under the keys of its dialect, by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.formats.keys import ConfigKeys


def keys_of(context: Context) -> ConfigKeys:
    """The keys that count in the config, by its dialect and its place; none where there is no dialect."""
    return context.section.keys


def said(context: Context, key: str | None) -> Any:
    """What the config says under one of these keys; None where it says nothing, or the dialect has no such key."""
    return None if key is None else context.section.block.get(key)


def layers_of(context: Context) -> Mapping[str, Any]:
    """The entries of a config that name the layers that they are for; none in formats that have no such."""
    layers = said(context, keys_of(context).layers)
    return layers if isinstance(layers, Mapping) else {}
