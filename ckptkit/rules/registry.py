"""The one code table: every rule, by code, with what it takes to check it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from ckptkit.errors import Fault, UsageError
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity

Check = Callable[[Context], Iterable[Fault]]


class Level(IntEnum):
    """How much is read: headers and JSON, or scale values too."""

    HEADERS = 0
    SCALES = 1

    @classmethod
    def parse(cls, text: str) -> Level:
        """From a word of the command line."""
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(level.name.lower() for level in cls)
            raise UsageError(f"unknown level {text!r}", help=f"levels: {known}") from None


class OnConversion(str, Enum):
    """What an error of a rule means for a conversion.

    It *blocks*: what is stored cannot be trusted. Or it is *mended*: the conversion rewrites exactly what is
    wrong. Or it is *carried*: the numbers are sound, and some engine is refusing them in any format.
    """

    BLOCKS = "blocks"
    MENDED = "mended"
    CARRIED = "carried"


@dataclass(frozen=True)
class Rule:
    """A rule and its metadata; its documentation is the docstring of its function."""

    code: str
    name: str
    severity: Severity
    level: Level
    conversion: OnConversion
    check: Check

    @property
    def documentation(self) -> str:
        """What it checks, why it hurts and how to mend it."""
        return inspect.cleandoc(self.check.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.documentation.partition("\n")[0]


_RULES: dict[str, Rule] = {}


def rule(
    code: str,
    name: str,
    severity: Severity,
    *,
    level: Level = Level.HEADERS,
    conversion: OnConversion = OnConversion.BLOCKS,
) -> Callable[[Check], Check]:
    """Register a function as the rule ``code``. A code is used once, for ever."""

    def register(check: Check) -> Check:
        if code in _RULES:
            raise ValueError(f"{code} is taken by {_RULES[code].name}")
        _RULES[code] = Rule(code, name, severity, level, conversion, check)
        return check

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    from ckptkit.rules import config, dtypes, files, fused, kv_cache, naming, shapes, values

    del config, dtypes, files, fused, kv_cache, naming, shapes, values  # imported to register their rules
    return tuple(_RULES[code] for code in sorted(_RULES))


def errors_that(*consequences: OnConversion) -> tuple[Rule, ...]:
    """The rules of severity error with one of these consequences for a conversion."""
    return tuple(r for r in all_rules() if r.severity is Severity.ERROR and r.conversion in consequences)
