"""Which keys of a quantization config say what in a dialect: rules ask for them and know none by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, TypeAlias

from ckptkit.record import record

#: The way to a value below a quantization config; ``*`` stands for every key, or every place of a list.
Way: TypeAlias = tuple[str, ...]
EACH = "*"


@record
class ConfigKeys:
    """The keys of a dialect's quantization config, besides those of its skip list; None where it has no such key.

    * ``groups``: groups that name the modules that they apply to; ``layers``: entries by names of modules;
    * ``kv_cache``: declares an FP8 KV cache; ``probabilities``: quantizes those of attention;
    * ``algorithm``: names an algorithm instead of spelling out a scheme; ``inputs``: says in a word how inputs are
      quantized; ``blocks``: the size of blocks;
    * ``dequantizes``: says that weights are dequantized while they are loaded; ``converted``: lists what is quantized
      beside linear layers;
    * ``nested``: the section that holds all of this in the exporter's own layout; ``producer``: the object that names
      the exporter beside it;
    * ``exponents``: where a text with "e8m0" says that weight scales are powers of two;
    * ``any_case``: words that readers take written large or small;
    * ``sections``: key -> the words by which engines' outcomes tell faults in it apart, of a value and of null.
    """

    groups: str | None = None
    layers: str | None = None
    kv_cache: str | None = None
    probabilities: str | None = None
    algorithm: str | None = None
    inputs: str | None = None
    blocks: str | None = None
    dequantizes: str | None = None
    converted: str | None = None
    nested: str | None = None
    producer: str | None = None
    exponents: tuple[Way, ...] = ()
    any_case: tuple[Way, ...] = (("quant_method",),)
    sections: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def values_at(value: Any, way: Way) -> Iterator[Any]:
    """The values at the end of a way; nothing where it leads nowhere.

    >>> list(values_at({"a": {"x": [{"b": 1}], "y": {"b": 2}}}, ("a", "*", "b")))
    [2]
    >>> list(values_at({"a": {"x": [{"b": 1}], "y": {"b": 2}}}, ("a", "*", "*", "b")))
    [1]
    """
    if not way:
        yield value
        return
    first, rest = way[0], way[1:]
    if first != EACH:
        if isinstance(value, dict) and first in value:
            yield from values_at(value[first], rest)
        return
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from values_at(inner, rest)


def changed_at(value: Any, way: Way, change: Callable[[Any], Any]) -> Any:
    """A copy in which the values at the end of a way are changed.

    >>> changed_at({"a": {"x": "B", "y": 1}}, ("a", "x"), str.lower)
    {'a': {'x': 'b', 'y': 1}}
    """
    if not way:
        return change(value)
    if not isinstance(value, Mapping):
        return value
    keys = value if way[0] == EACH else value.keys() & {way[0]}
    return {**value, **{key: changed_at(value[key], way[1:], change) for key in keys}}
