"""JSON for other programs: always JSON, and harmless on a terminal whatever the names in it hold."""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: What `str.isprintable` calls printable in ASCII, and the line breaks of the layout; the rest is looked at one by one.
_PLAIN = re.compile(r"[^\n\x20-\x7e]")


def json_text(document: Any) -> str:
    r"""A document as indented JSON. What is no printable character is escaped; what is no number is null.

    Half a character cannot be said in JSON; it is spelled out as text.

    >>> print(json_text({"name": "a\x7fb é \udcff", "value": float("nan")}))
    {
      "name": "a\u007fb é \\udcff",
      "value": null
    }
    """
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() and "\x7f" not in text else _PLAIN.sub(_escaped, text)


def compact_json(document: Any) -> str:
    r"""A document as JSON in ASCII without a blank, for programs only; what is no number is null.

    >>> compact_json({"name": "é", "values": [1.5, float("inf")]})
    '{"name":"\\u00e9","values":[1.5,null]}'
    """
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), separators=(",", ":"), allow_nan=False)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    number = ord(character)
    if 0xD800 <= number < 0xE000:
        return f"\\\\u{number:04x}"
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value
