"""Which regular expressions may take for ever: patterns come from the files of strangers.

Python's matcher tries every way to match before it gives up. Where one text can be cut into pieces in many ways
(``(a+)+``, ``(a|a)*``), the ways double with each character. Such a pattern is told by its form and never run.

A matcher that cannot run away, such as google-re2, would not end the question. The engines match these patterns with
Python's matcher, so whether one would hang them is what has to be known. And it is not the same language: google-re2
1.1.20251105 has wheels for Python 3.10 to 3.14 and is imported in 3 ms, but refuses what configs hold
(``^(?!.*mlp).*$``) and what ``fnmatch.translate`` writes (``(?>...)``, ``\\Z``), reads ``\\d`` as ASCII and ``$`` not
before a last line break, and takes 5.4 us for a name where ``re`` takes 0.3. To tell a form takes 85 us, once for each
pattern. The parser that is used here is private to Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

_PARSER: Any = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

#: A repeat of up to this many times costs little by itself; beyond, it counts as unbounded.
_FEW = 4
#: Unbounded repeats side by side that can take each other's text, and in a whole pattern before its end.
_ADJACENT = 3
_TOTAL = 5
#: No loop of an honest pattern has a longer body.
_LONGEST_BODY = 200

_ASCII = frozenset(chr(code) for code in range(128))
#: Stands for every character beyond ASCII.
_BEYOND = "\x80"
_ANYTHING = _ASCII | {_BEYOND}
#: The parser's names of classes of characters -> how a pattern writes them.
_CLASSES = {
    f"CATEGORY_{word}": escape
    for name, lower in (("DIGIT", r"\d"), ("SPACE", r"\s"), ("WORD", r"\w"))
    for word, escape in ((name, lower), (f"NOT_{name}", lower.upper()))
}

_Nodes = Sequence[tuple[Any, Any]]
_Chars = frozenset[str]


@lru_cache(maxsize=1 << 12)
def may_run_away(pattern: str) -> bool:
    """Whether matching a module's name may take for ever; False for what is no regular expression at all.

    Ordinary patterns pass. Few harmless ones are refused, such as ``(a?)+``: the form alone decides. So are those that
    no parser gets through.

    >>> [may_run_away(text) for text in (r".*lm_head", r"layers\\.\\d+\\..*", r"(\\w+\\.)*gate", r"(\\w+)*gate")]
    [False, False, False, True]
    """
    try:
        nodes = list(_PARSER.parse(pattern))
        return _explodes(nodes) or _degree(nodes) > _TOTAL
    except re.error:
        return False
    except (OverflowError, RecursionError):
        return True


def _explodes(nodes: _Nodes) -> bool:
    """Whether a loop's body is ambiguous, anywhere in a sequence, or many repeats side by side share their text."""
    run, taken = 0, frozenset[str]()
    for name, argument in _flat(nodes):
        if name in _REPEATS:
            _, high, body = argument
            if (high > 1 and _ambiguous(list(body), _first(list(body)))) or _explodes(list(body)):
                return True
            if high > _FEW:
                chars = _chars(list(body))
                run, taken = (run + 1 if run and chars & taken else 1), chars
                if run > _ADJACENT:
                    return True
        elif any(_explodes(inner) for inner in _inside(name, argument)):
            return True
        elif _is_separator(name, argument):
            run = 0
    return False


def _ambiguous(nodes: _Nodes, after: _Chars) -> bool:
    """Whether a sequence can match one text in two ways, if ``after`` holds the characters that may follow it."""
    flat = list(_flat(nodes))
    if len(flat) > _LONGEST_BODY:
        return True
    for position, (name, argument) in enumerate(flat):
        rest = flat[position + 1 :]
        follow = _first(rest) | (after if _nullable(rest) else frozenset())
        if name in _REPEATS:
            low, high, body = argument[0], argument[1], list(argument[2])
            if low != high and (_nullable(body) or _chars(body) & follow):
                return True
            if _ambiguous(body, _first(body) | follow):
                return True
        elif name == "BRANCH":
            branches = [list(branch) for branch in argument[1]]
            seen: _Chars = frozenset()
            for branch in branches:
                first = _first(branch)
                if first & seen or _ambiguous(branch, follow):
                    return True
                seen |= first
            empty = sum(_nullable(branch) for branch in branches)
            if empty > 1 or (empty and seen & follow):  # the parser writes a|a as a(?:|)
                return True
    return False


def _degree(nodes: _Nodes) -> int:
    """Unbounded repeats of a sequence; the last does not count, for nothing after it can fail."""
    flat = [node for node in _flat(nodes) if node[0] != "AT"]
    total = 0
    for position, (name, argument) in enumerate(flat):
        if name in _REPEATS:
            _, high, body = argument
            inner = max(1 if high > _FEW else 0, min(high, _FEW) * _degree(list(body)))
            total += inner if position < len(flat) - 1 else 0
        else:
            total += max((_degree(nodes) for nodes in _inside(name, argument)), default=0)
    return total


_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def _flat(nodes: _Nodes) -> Iterator[tuple[str, Any]]:
    """The nodes of a sequence by name, groups opened."""
    for operation, argument in nodes:
        name = str(operation)
        if name == "SUBPATTERN":
            yield from _flat(list(argument[-1]))
        elif name == "ATOMIC_GROUP":
            yield from _flat(list(argument))
        else:
            yield name, argument


def _inside(name: str, argument: Any) -> Iterator[_Nodes]:
    """The sequences inside a node that is no repeat."""
    if name == "BRANCH":
        yield from (list(branch) for branch in argument[1])
    elif name in ("ASSERT", "ASSERT_NOT"):
        yield list(argument[1])
    elif name == "GROUPREF_EXISTS":
        yield from (list(part) for part in argument[1:] if part is not None)


def _is_separator(name: str, argument: Any) -> bool:
    """Whether a node needs a character of its own between two repeats."""
    return name == "LITERAL" or (name == "BRANCH" and all(len(branch) for branch in argument[1]))


def _nullable(nodes: _Nodes) -> bool:
    return all(_matches_nothing(name, argument) for name, argument in _flat(nodes))


def _matches_nothing(name: str, argument: Any) -> bool:
    """Whether a node can match the empty text."""
    if name in _REPEATS:
        return bool(argument[0] == 0) or _nullable(list(argument[2]))
    if name == "BRANCH":
        return any(_nullable(list(branch)) for branch in argument[1])
    return name not in ("LITERAL", "NOT_LITERAL", "ANY", "IN")


def _first(nodes: _Nodes) -> _Chars:
    """The characters that a match of a sequence may begin with."""
    found: _Chars = frozenset()
    for name, argument in _flat(nodes):
        if name in _REPEATS:
            found |= _first(list(argument[2]))
        elif name == "BRANCH":
            found = found.union(*(_first(list(branch)) for branch in argument[1]))
        else:
            found |= _taken(name, argument)
        if not _matches_nothing(name, argument):
            break
    return found


def _chars(nodes: _Nodes) -> _Chars:
    """Every character that a match of a sequence may hold."""
    found: _Chars = frozenset()
    for name, argument in _flat(nodes):
        if name in _REPEATS:
            found |= _chars(list(argument[2]))
        elif name == "BRANCH":
            found = found.union(*(_chars(list(branch)) for branch in argument[1]))
        else:
            found |= _taken(name, argument)
    return found


def _taken(name: str, argument: Any) -> _Chars:
    """The characters that one node takes, in either case; anything where that is not known."""
    if name == "LITERAL":
        return _either_case(_char(argument))
    if name == "NOT_LITERAL":
        return _all_but(_char(argument))
    if name == "IN":
        return _set_of(argument)
    return frozenset() if name in ("AT", "ASSERT", "ASSERT_NOT") else _ANYTHING


def _set_of(items: _Nodes) -> _Chars:
    found: _Chars = frozenset()
    negated = False
    for operation, value in items:
        kind = str(operation)
        if kind == "NEGATE":
            negated = True
        elif kind == "LITERAL":
            found |= _char(value)
        elif kind == "RANGE":
            first, last = (min(code, 128) for code in value)  # all beyond ASCII count as one
            found = found.union(*map(_char, range(first, last + 1)))
        else:
            found |= _category(str(value))
    return _all_but(found) if negated else _either_case(found)


def _category(name: str) -> _Chars:
    """The characters of a class such as CATEGORY_NOT_DIGIT."""
    return frozenset(char for char in _ASCII if re.match(_CLASSES[name], char)) | {_BEYOND}


def _char(code: int) -> _Chars:
    return frozenset({chr(code) if code < 128 else _BEYOND})


def _either_case(chars: _Chars) -> _Chars:
    """Whether case counts, a flag anywhere in a pattern says: it is taken not to."""
    return chars.union(map(str.lower, chars), map(str.upper, chars))


def _all_but(chars: _Chars) -> _Chars:
    """What a negated set takes: the other case of what it names too, where case counts, and much beyond ASCII."""
    return (_ANYTHING - chars) | {_BEYOND}
