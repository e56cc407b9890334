"""The ways to hold entries of a skip list against a name, each as a function that is cheap to call for many names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import translate
from types import MappingProxyType

from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away

_REGEX_PREFIX = "re:"

Matcher = Callable[[str], bool]


class Style(str, Enum):
    """What an entry of a skip list means."""

    EXACT = "the whole module name"
    EXACT_OR_REGEX = "the whole name, or after re: a regular expression anchored at the start"
    ENDING_OR_REGEX = "the whole name or its last components, or after re: a regular expression anchored at the start"
    EXACT_REGEX_CLASS = "the whole name, a class name, or after re: a regular expression anchored at the start"
    GLOB = "a shell pattern over the whole name"
    PREFIX_OR_SUFFIX = "a regular expression for the start of the name, or its end"
    COMPONENTS = "a run of whole dotted components anywhere in the name"
    SUBSTRING_OR_GLOB = "any part of the name, or a shell pattern over the whole name"
    STARS = "a pattern in which * stands for anything, over the whole name or one of its components"
    ABOVE = "a shell pattern, or after re: a regular expression, over the whole name or that of a module above it"


def _exact(entries: Sequence[str]) -> Matcher:
    return frozenset(entries).__contains__


def _exact_or_regex(entries: Sequence[str]) -> Matcher:
    exact = frozenset(entry for entry in entries if not entry.startswith(_REGEX_PREFIX))
    regex = _any_of(_endless_left_out(e.removeprefix(_REGEX_PREFIX) for e in entries if e.startswith(_REGEX_PREFIX)))
    if regex is None:
        return exact.__contains__
    match = regex.match
    return lambda name: name in exact or match(name) is not None


def _ending_or_regex(entries: Sequence[str]) -> Matcher:
    matches = _exact_or_regex(entries)
    ends = tuple(f".{entry}" for entry in entries if not entry.startswith(_REGEX_PREFIX))
    return lambda name: name.endswith(ends) or matches(name)


def _exact_regex_class(entries: Sequence[str]) -> Matcher:
    if names.LINEAR_CLASSES.intersection(entries):
        return lambda name: True
    return _exact_or_regex(entries)


def _glob(entries: Sequence[str]) -> Matcher:
    exact = frozenset(entries)
    regex = _any_of(translate(entry) for entry in entries if any(char in entry for char in "*?["))
    if regex is None:
        return exact.__contains__
    match = regex.match
    return lambda name: name in exact or match(name) is not None


def _prefix_or_suffix(entries: Sequence[str]) -> Matcher:
    ends = tuple(entries)
    regex = _any_of(_endless_left_out(entries))
    if regex is None:
        return lambda name: name.endswith(ends)
    match = regex.match
    return lambda name: match(name) is not None or name.endswith(ends)


def _components(entries: Sequence[str]) -> Matcher:
    regex = _any_of(re.escape(entry) for entry in entries)
    if regex is None:
        return lambda name: False
    search = re.compile(rf"(?:^|\.)(?:{regex.pattern})(?:\.|$)").search
    return lambda name: search(name) is not None


def _substring_or_glob(entries: Sequence[str]) -> Matcher:
    parts = _any_of(re.escape(entry) for entry in entries)
    if parts is None:
        return lambda name: False
    search, glob = parts.search, _glob(entries)
    return lambda name: search(name) is not None or glob(name)


def _stars(entries: Sequence[str]) -> Matcher:
    regex = _any_of(_endless_left_out(entry.replace(".", r"\.").replace("*", ".*") for entry in entries))
    if regex is None:
        return lambda name: False
    match = regex.fullmatch
    return lambda name: match(name) is not None or any(map(match, name.split(".")))


def _above(entries: Sequence[str]) -> Matcher:
    globs = [entry for entry in entries if not entry.startswith(_REGEX_PREFIX)]
    subtrees = [entry.removesuffix(".*") for entry in globs if entry.endswith(".*")]
    regex = _any_of(_endless_left_out(e.removeprefix(_REGEX_PREFIX) for e in entries if e.startswith(_REGEX_PREFIX)))
    glob = _glob([*globs, *subtrees])

    def listed(name: str) -> bool:
        return glob(name) or (regex is not None and regex.fullmatch(name) is not None)

    # Few modules own all others: each owner is asked about once.
    known: dict[str, bool] = {"": False}

    def above(owner: str) -> bool:
        if owner not in known:
            known[owner] = listed(owner) or above(names.parent(owner))
        return known[owner]

    return lambda name: listed(name) or above(names.parent(name))


def _endless_left_out(patterns: Iterable[str]) -> Iterator[str]:
    """The patterns that can be run: one that may take forever is a rule's finding, and never reaches a matcher."""
    return (pattern for pattern in patterns if not may_run_away(pattern))


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """One regular expression for all; those that do not compile match nothing, as a reader would have failed."""
    sound = []
    for pattern in dict.fromkeys(patterns):
        try:
            re.compile(pattern)
        except re.error:
            continue
        sound.append(f"(?:{pattern})")
    try:
        return re.compile("|".join(sound)) if sound else None
    except re.error:
        return None


MATCHERS: Mapping[Style, Callable[[Sequence[str]], Matcher]] = MappingProxyType(
    {
        Style.EXACT: _exact,
        Style.EXACT_OR_REGEX: _exact_or_regex,
        Style.ENDING_OR_REGEX: _ending_or_regex,
        Style.EXACT_REGEX_CLASS: _exact_regex_class,
        Style.GLOB: _glob,
        Style.PREFIX_OR_SUFFIX: _prefix_or_suffix,
        Style.COMPONENTS: _components,
        Style.SUBSTRING_OR_GLOB: _substring_or_glob,
        Style.STARS: _stars,
        Style.ABOVE: _above,
    }
)
