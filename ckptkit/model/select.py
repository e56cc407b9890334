"""One matcher for module names, with the kinds of pattern that configs use.

* exact: the whole name;
* regex: ``re.match``, anchored at the start only, so ``.*q_proj`` also matches ``...q_proj_extra``;
* glob: ``fnmatch`` on the whole name, where ``*`` crosses dots;
* substring: any part of the name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cached_property

from ckptkit.errors import Fault, FormatError, excerpt
from ckptkit.model.backtracking import may_run_away
from ckptkit.record import record


@record
class Exact:
    """The whole module name."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether a module of this name is meant."""
        return name == self.text


@record
class Regex:
    """A regular expression, anchored at the start only.

    Raises FormatError when it is first used and is not valid, or of a form that may take forever.
    """

    text: str

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        if may_run_away(self.text):
            raise FormatError("the quantization config holds a pattern that may take forever", faults=[self.slow()])
        try:
            return re.compile(self.text)
        except re.error as error:
            fault = Fault("pattern-invalid", f"not a regular expression: {error}", found=repr(self.text))
            raise FormatError("the quantization config holds an invalid pattern", faults=[fault]) from error

    def slow(self) -> Fault:
        """The fault of a pattern that is never run, because matching it may take forever."""
        message = "a pattern that may take forever: one text can be cut into its parts in too many ways"
        help_text = "write it without repeats inside repeats"
        return Fault("pattern-slow", message, "config.json", found=excerpt(f"re:{self.text}"), help=help_text)

    def matches(self, name: str) -> bool:
        """Whether a module of this name is meant."""
        return self._compiled.match(name) is not None


@record
class Glob:
    """A shell-style pattern over the whole name; ``*`` crosses dots."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether a module of this name is meant."""
        return fnmatch.fnmatchcase(name, self.text)


@record
class Substring:
    """Any part of the name."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether a module of this name is meant."""
        return self.text in name


Pattern = Exact | Regex | Glob | Substring


class PatternKind(str, Enum):
    """What an entry of a config's list of modules means to the library that the config is from."""

    EXACT = "the whole name"
    REGEX = "the whole name, or after re: a regular expression"
    GLOB = "a shell pattern over the whole name"
    SUBSTRING = "any part of the name, or a shell pattern over the whole name"

    def parse(self, text: str) -> Pattern:
        """An entry of this kind as a pattern.

        >>> [kind.parse("*.gate") for kind in (PatternKind.EXACT, PatternKind.GLOB)]
        [Exact(text='*.gate'), Glob(text='*.gate')]
        """
        return _PARSERS[self](text)


def glob_or_exact(text: str) -> Pattern:
    """A glob when the text holds a wildcard, else an exact name: the same matches, found faster."""
    return Glob(text) if any(character in text for character in "*?[") else Exact(text)


def regex_or_exact(text: str) -> Pattern:
    """``re:`` starts a regular expression; anything else is an exact name."""
    return Regex(text.removeprefix("re:")) if text.startswith("re:") else Exact(text)


def glob_or_substring(text: str) -> Pattern:
    """A glob when the text holds a wildcard, else a part of a name."""
    return Glob(text) if any(character in text for character in "*?[") else Substring(text)


_PARSERS = {
    PatternKind.EXACT: Exact,
    PatternKind.REGEX: regex_or_exact,
    PatternKind.GLOB: glob_or_exact,
    PatternKind.SUBSTRING: glob_or_substring,
}


@record
class Selector:
    """Many patterns as one question: does any of them match this name?"""

    patterns: tuple[Pattern, ...]

    @classmethod
    def of(cls, patterns: Iterable[Pattern]) -> Selector:
        """A selector of these patterns."""
        return cls(tuple(patterns))

    @cached_property
    def matches(self) -> Callable[[str], bool]:
        """Whether a module of a name is meant."""
        exact = frozenset(pattern.text for pattern in self.patterns if isinstance(pattern, Exact))
        others = tuple(pattern for pattern in self.patterns if not isinstance(pattern, Exact))
        if not others:
            return exact.__contains__
        return lambda name: name in exact or any(pattern.matches(name) for pattern in others)

    def first(self, name: str) -> Pattern | None:
        """The first pattern, in the config's order, that matches."""
        return next((pattern for pattern in self.patterns if pattern.matches(name)), None)
