"""How rules were confirmed with the real engines, in words, from what each engine's folder says was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from ckptkit.engines.registry import engines
from ckptkit.engines.seen import Seen

_ERROR = "error: "
_CLASS = re.compile(r"[A-Z]\w*(Error|Warning)")
_WORDS = MappingProxyType(
    {
        "unset": "loads, scales are left unset",
        "silent": "loads without a word",
        "missing": "loads, lists missing keys",
        "unexpected": "loads, lists unexpected keys",
        "nan": "loads, answers NaN",
    }
)


def reproduced(code: str) -> str:
    """What each engine was seen to do with a rule's damage; empty where nothing was run.

    >>> reproduced("CK302").endswith("stops with an AssertionError")
    True
    """
    found = []
    for engine in engines().values():
        seen = engine.reproduced().get(code)
        if seen is not None:
            found.append(
                f"{engine.label} {engine.release_for('reproduced')} {', or '.join(dict.fromkeys(_said(seen)))}"
            )
    return "; ".join(found)


def _said(seen: Seen) -> Iterator[str]:
    for word in seen.cases:
        if word is not None:
            yield in_words(word)
    for export, word in seen.exports.items():
        yield f"{in_words(word)} on {export}"


def in_words(word: str) -> str:
    """One word of :class:`~ckptkit.engines.seen.Seen`, for people.

    >>> in_words("error: IndexError"), in_words("error: no file named"), in_words("unset")
    ('stops with an IndexError', 'stops: "no file named"', 'loads, scales are left unset')
    """
    if not word.startswith(_ERROR):
        return _WORDS[word]
    text = word.removeprefix(_ERROR)
    if _CLASS.fullmatch(text):
        return f"stops with {'an' if text[0] in 'AEIOU' else 'a'} {text}"
    return f'stops: "{text}"'
