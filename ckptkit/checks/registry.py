"""The one code table: every rule, by code, with what it takes to check it and whom its defect hits."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Literal

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.reproduced import REPRODUCED
from ckptkit.checks.sources import sources_of
from ckptkit.engines.effects import Effect
from ckptkit.engines.outcomes import outcomes_of
from ckptkit.errors import Fault, UsageError

Check = Callable[[Context], Iterable[Fault]]
Fix = Literal["safe", "unsafe", None]

#: Hundreds of a code -> the family, which is also the word that users may select by.
FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "CK1": "files",
        "CK2": "naming",
        "CK3": "shapes",
        "CK4": "dtypes",
        "CK5": "values",
        "CK6": "config",
        "CK7": "fused",
        "CK8": "sharding",
        "CK9": "kv_cache",
    }
)
#: Modules that hold rules; importing one registers them.
_MODULES = (
    "config",
    "config_formats",
    "config_schema",
    "config_values",
    "dtypes",
    "files",
    "full_values",
    "fused",
    "kv_cache",
    "kv_values",
    "model_card",
    "modules",
    "naming",
    "promises",
    "shapes",
    "sharding",
    "sizes",
    "skip_rules",
    "values",
)


class Level(IntEnum):
    """How much is read: headers and JSON, or scale values too, or every byte of every weight."""

    HEADERS = 0
    SCALES = 1
    FULL = 2

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
    """A rule and its metadata; its documentation is the docstring of its function.

    ``fix`` says whether ``validate --fix`` can mend it: safely, only as a judgement call, or not at all.
    ``sources`` are public reports of the defect; ``reproduced`` says how it was confirmed here.
    """

    code: str
    name: str
    severity: Severity
    level: Level
    conversion: OnConversion
    check: Check
    effects: tuple[Effect, ...] = ()
    sources: tuple[str, ...] = ()
    reproduced: str = ""
    fix: Fix = None
    since: str = "0.1"

    @property
    def family(self) -> str:
        """The family, by the hundreds of the code."""
        return FAMILIES[self.code[:3]]

    @property
    def documentation(self) -> str:
        """What it checks, why it hurts, an example and how to mend it."""
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
    fix: Fix = None,
    since: str = "0.1",
) -> Callable[[Check], Check]:
    """Register a function as the rule ``code``. A code is used once, for ever."""

    def register(check: Check) -> Check:
        if code in _RULES:
            raise ValueError(f"{code} is taken by {_RULES[code].name}")
        if any(known.name == name for known in _RULES.values()):
            raise ValueError(f"the name {name!r} is taken")
        _RULES[code] = Rule(
            code,
            name,
            severity,
            level,
            conversion,
            check,
            effects=outcomes_of(code),
            sources=sources_of(code),
            reproduced=REPRODUCED.get(code, ""),
            fix=fix,
            since=since,
        )
        return check

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    for module in _MODULES:
        importlib.import_module(f"ckptkit.rules.{module}")
    return tuple(_RULES[code] for code in sorted(_RULES))


def by_code(code: str) -> Rule:
    """The rule of a code or a name. Raises UsageError with what is near."""
    wanted = code.strip()
    for candidate in all_rules():
        if wanted.upper() == candidate.code or wanted.lower() == candidate.name:
            return candidate
    raise UsageError(f"unknown rule {code!r}", help=_neighbours(wanted))


def select(select: Iterable[str] = ("ALL",), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules that prefixes choose: ``ALL``, ``CK3``, ``CK301``, a family or a rule's name.

    The longest prefix that fits a rule decides, so ``select=["CK301"], ignore=["CK3"]`` leaves one of the family.
    An equally long ``ignore`` wins. Raises UsageError for a word that fits no rule.
    """
    rules = all_rules()
    wanted, unwanted = (tuple(_prefix(word, rules) for word in words) for words in (select, ignore))
    return tuple(r for r in rules if _specificity(r, wanted) > max(_specificity(r, unwanted), -1))


def errors_that(*consequences: OnConversion) -> tuple[Rule, ...]:
    """The rules of severity error with one of these consequences for a conversion."""
    return tuple(r for r in all_rules() if r.severity is Severity.ERROR and r.conversion in consequences)


def _neighbours(word: str) -> str:
    """The rules that somebody may have meant: those of the same family, or the one with the most similar name."""
    rules = all_rules()
    everything = "ckptkit rule --all lists them all"
    family = [candidate.code for candidate in rules if candidate.code.startswith(word.upper()[:3])]
    if word[:2].upper() == "CK" and family:
        return f"near it: {', '.join(family)}; {everything}"
    near = difflib.get_close_matches(word.lower(), [candidate.name for candidate in rules], n=1)
    return f"did you mean {near[0]!r}? {everything}" if near else everything


def _prefix(word: str, rules: tuple[Rule, ...]) -> str:
    """A word of a selection as a prefix of codes; the empty prefix is all of them."""
    text = word.strip()
    if text.upper() == "ALL":
        return ""
    for prefix, family in FAMILIES.items():
        if text.lower().replace("-", "_") == family:
            return prefix
    for candidate in rules:
        if text.lower() == candidate.name or (text and candidate.code.startswith(text.upper())):
            return candidate.code if text.lower() == candidate.name else text.upper()
    raise UsageError(f"no rule fits {word!r}", help="give ALL, a prefix such as CK3, a code, a family or a rule's name")


def _specificity(candidate: Rule, prefixes: tuple[str, ...]) -> int:
    return max((len(prefix) for prefix in prefixes if candidate.code.startswith(prefix)), default=-1)
