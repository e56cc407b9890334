"""JSON as safetensors reads it: what Python's parser takes too easily, and what it forgets.

The official library parses headers with Rust's serde_json. Python's parser also takes NaN, lone surrogates, numbers
beyond a double and any nesting its stack allows; it reads ``-0`` as the integer 0, and of two equal keys it keeps the
last and forgets the first. A validator that disagrees with the loader on one of these calls a bad file good.

One difference is left: serde_json rounds decimals a little differently, so within one part in 10^15 of the largest
double it may refuse a number that :func:`parse_strict` takes. No header field holds such a number.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

#: serde_json gives up below this many nested arrays and objects.
MAX_NESTING = 127

MAX_U64 = 2**64 - 1
_MIN_I64 = -(2**63)

# Inside valid JSON a backslash occurs only as the first character of an escape, so escapes can be scanned one by one.
_ESCAPE = re.compile(r"\\(?:ud[89ab]..\\ud[c-f]..|(?P<lone>ud[89a-f])|.)", re.IGNORECASE | re.DOTALL)
_NEGATIVE_ZERO = re.compile(r"-0[\s,\]}]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")


class JsonObject(dict[str, Any]):
    """A parsed object that remembers what its repeated keys have hidden."""

    __slots__ = ("hidden",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        #: Key and value of each pair that a later pair with the same key replaces, in file order.
        self.hidden: tuple[tuple[str, Any], ...] = ()
        if len(self) != len(pairs):
            last = {key: position for position, (key, _) in enumerate(pairs)}
            self.hidden = tuple(pair for position, pair in enumerate(pairs) if last[pair[0]] != position)


def parse_strict(text: str) -> Any:
    """Parse JSON as serde_json does, objects as :class:`JsonObject`; ValueError says what is wrong.

    Nesting is left to the caller, because only values that nobody reads can be nested deeply: see :func:`nesting`.
    """
    if has_lone_surrogate(text):
        raise ValueError("a string holds a lone surrogate")
    try:
        return json.loads(
            text,
            object_pairs_hook=JsonObject,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ValueError("nesting too deep") from None


def has_lone_surrogate(text: str) -> bool:
    """Whether an escape in JSON text is half a character: such a string cannot be written as UTF-8."""
    return "\\" in text and any(escape["lone"] is not None for escape in _ESCAPE.finditer(text))


def misread_by_python(text: str) -> bool:
    """Whether text may hold what Python's parser silently takes or alters: a lone surrogate, or ``-0``."""
    return has_lone_surrogate(text) or ("-" in text and _NEGATIVE_ZERO.search(text) is not None)


def count_strings(text: str) -> int:
    """How many strings, keys included, valid JSON text holds.

    Compared with :func:`strings_in` of the parsed value, this finds repeated keys at a tenth of what it costs to
    collect the pairs of every object.
    """
    bare = _ESCAPE.sub("", text) if "\\" in text else text
    return bare.count('"') // 2


def strings_in(value: Any) -> int:
    """How many strings, keys included, a parsed JSON value holds."""
    count = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            count += 1
        elif isinstance(item, dict):
            count += len(item)
            if set(map(type, item.values())) == {str}:  # the map of an index: a hundred thousand of them at once
                count += len(item)
            else:
                pending += item.values()
        elif isinstance(item, list):
            pending += item
    return count


def repeated_keys(text: str) -> list[str]:
    """The keys, at any level of valid JSON text, that a later pair with the same key replaces."""
    keys: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> JsonObject:
        mapping = JsonObject(pairs)
        keys.extend(key for key, _ in mapping.hidden)
        return mapping

    json.loads(text, object_pairs_hook=note)
    return keys


def nesting(text: str) -> int:
    """How deeply arrays and objects are nested in valid JSON text."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _integer(literal: str) -> int | float:
    """An integer if it fits in 64 bits, else a double, as in serde_json; ``-0`` is a double too."""
    if len(literal) > 20 or literal == "-0":
        return _decimal(literal)
    value = int(literal)
    return value if _MIN_I64 <= value <= MAX_U64 else float(value)


def _decimal(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise ValueError(f"number out of range: {literal[:40]}")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
