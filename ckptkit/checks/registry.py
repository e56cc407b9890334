"""The one code table: every rule, by code, with what it takes to check it and whom its defect hits."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from ckptkit import plugins
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.level import Level as Level
from ckptkit.edits.changes import LOSING_EDITS, Edit
from ckptkit.engines.base import Effect
from ckptkit.engines.registry import effects_of
from ckptkit.engines.reproduced import reproduced
from ckptkit.errors import Fault, UsageError, did_you_mean
from ckptkit.record import record
from ckptkit.shown import Look, Shown

Check = Callable[[Context], Iterable[Fault]]
Safety = Literal["safe", "unsafe"]
#: The edits that fix one finding; none if this finding is beyond the fix.
FixFunction = Callable[[Context, Finding], Iterable[Edit]]

#: The rules that call the declaration itself invalid. Nothing is thrown away on the strength of such a one.
_INVALID = ("CK600", "CK629")

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


def family_of(code: str) -> str:
    """The family of a rule, by the hundreds of its code; the letters of the code for rules of other packages.

    >>> family_of("CK911"), family_of("ACME1")
    ('kv_cache', 'ACME')
    """
    return FAMILIES.get(code[:3]) or code.rstrip("0123456789")


class OnConversion(str, Enum):
    """What an error of a rule means for a conversion.

    It *blocks*: what is stored cannot be trusted. Or it is *fixed*: the conversion rewrites exactly what is
    wrong. Or it is *carried*: the numbers are sound, and some engine is refusing them in any format.
    """

    BLOCKS = "blocks"
    FIXED = "fixed"
    CARRIED = "carried"


@record
class Fixer:
    """A fix and whether it may be made without asking. Its documentation is the docstring of its function.

    A safe one takes away no bytes that cannot be had again.
    """

    code: str
    safety: Safety
    function: FixFunction


@record(repr=False)
class Rule(Shown):
    """A rule and its metadata; its documentation is the docstring of its function.

    ``reports`` are public reports of the defect, as ``owner/repository#number``, and ``unreported`` says why there are
    none. A rule that ``samples`` reads a few rows of weights on any level; plans, which read no weight, leave it out.
    """

    code: str
    name: str
    severity: Severity
    level: Level
    conversion: OnConversion
    check: Check
    reports: tuple[str, ...] = ()
    unreported: str = ""
    since: str = "0.1"
    samples: bool = False
    #: The fixes for what it finds, as they are registered; several belong to different formats.
    fixers: Sequence[Fixer] = field(default=(), compare=False, repr=False)

    def _look(self) -> Look:
        facts = [self.name, self.severity.value, f"level {self.level.name.lower()}", f"fix: {self.fix or 'none'}"]
        rows = [(effect.engine, effect.versions, effect.outcome.value, effect.note) for effect in self.effects]
        return Look(self.code, [*facts, self.plain_summary], ("engine", "versions", "outcome", "note"), rows, len(rows))

    def to_json(self) -> dict[str, Any]:
        """The rule as described by ``schemas/rules.json``."""
        return {
            "code": self.code,
            "name": self.name,
            "family": self.family,
            "severity": self.severity.value,
            "level": self.level.name.lower(),
            "fix": self.fix,
            "since": self.since,
            "summary": self.summary,
            "documentation": self.documentation,
            "engines": [effect.to_json() for effect in self.effects],
            "sources": list(self.sources),
        }

    @property
    def family(self) -> str:
        """The family that the code tells."""
        return family_of(self.code)

    @property
    def fix(self) -> Safety | None:
        """Whether ``validate --fix`` can fix it: safely, only as a judgement call, or not at all."""
        safeties = {fixer.safety for fixer in self.fixers}
        return "safe" if "safe" in safeties else "unsafe" if safeties else None

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What the defect usually does, from the engines' own tables."""
        return effects_of(self.code)

    @property
    def reproduced(self) -> str:
        """How it was confirmed here, with the real engines; empty where it was not."""
        return reproduced(self.code)

    @property
    def sources(self) -> tuple[str, ...]:
        """The addresses of its reports; GitHub leads from an issue's address to the pull request of that number."""
        return tuple(f"https://github.com/{report.replace('#', '/issues/')}" for report in self.reports)

    @property
    def documentation(self) -> str:
        """What it checks, why it hurts, an example and how to fix it."""
        return inspect.cleandoc(self.check.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.documentation.partition("\n")[0]

    @property
    def plain_summary(self) -> str:
        """The same for who shows no markup: names without the marks around them."""
        return self.summary.replace("``", "")


_CODE = re.compile(r"[A-Z]{2,}[0-9]{3}")
#: The name of the file of a rule; others in the folders hold what several share.
_FILE = re.compile(r"ck[0-9]{3}_")
_RULES: dict[str, Rule] = {}
_NAMES: set[str] = set()
_FIXERS: dict[str, list[Fixer]] = {}


def rule(
    code: str,
    name: str,
    severity: Severity,
    *,
    level: Level = Level.HEADERS,
    conversion: OnConversion = OnConversion.BLOCKS,
    reports: tuple[str, ...] = (),
    unreported: str = "",
    since: str = "0.1",
    samples: bool = False,
) -> Callable[[Check], Check]:
    """Register a function as the rule ``code``: capital letters and three digits. A code is used once, for ever.

    The letters CK are ckptkit's own. Raises ValueError for a code of another form, and for what is taken.
    """
    if not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is no code of a rule: write capital letters and three digits, such as CK301")

    def register(check: Check) -> Check:
        if code in _RULES:
            raise ValueError(f"{code} is taken by {_RULES[code].name}")
        if name in _NAMES:
            raise ValueError(f"the name {name!r} is taken")
        _NAMES.add(name)
        _RULES[code] = Rule(
            code,
            name,
            severity,
            level,
            conversion,
            check,
            reports=reports,
            unreported=unreported,
            fixers=_FIXERS.setdefault(code, []),
            since=since,
            samples=samples,
        )
        return check

    return register


def fix(safety: Safety, *codes: str) -> Callable[[FixFunction], FixFunction]:
    """Register a function as a fix for the findings of these rules."""

    def register(function: FixFunction) -> FixFunction:
        for code in codes:
            _FIXERS.setdefault(code, []).append(Fixer(code, safety, function))
        return function

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code: ours, and those of other packages."""
    _import_rules()
    return tuple(_RULES[code] for code in sorted(_RULES))


def all_fixers() -> Mapping[str, tuple[Fixer, ...]]:
    """Every fix, by code; several for one code belong to different formats."""
    _import_rules()
    return {code: tuple(fixers) for code, fixers in sorted(_FIXERS.items()) if fixers}


def objection(edits: Iterable[Edit], findings: Iterable[Finding]) -> str | None:
    """Why these edits must wait, if they must: tensors would go although the config that says so is invalid."""
    if not any(isinstance(edit, LOSING_EDITS) for edit in edits):
        return None
    invalid = next((finding for finding in findings if finding.code in _INVALID), None)
    if invalid is None:
        return None
    return f"correct the config first, since a tensor would go for good: {invalid.code} {invalid.message}"


@cache
def _import_rules() -> None:
    """Import the file of every rule of every family, which registers it; then what other packages name."""
    for family in FAMILIES.values():
        folder = importlib.import_module(f"ckptkit.rules.{family}")
        names = {entry.partition(".")[0] for entry in os.listdir(folder.__path__[0]) if _FILE.match(entry)}
        for name in sorted(names):
            importlib.import_module(f"{folder.__name__}.{name}")
    for _ in plugins.plugins(plugins.RULES):
        pass  # importing the module that is named has registered its rules


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


def refuse_unknown(words: Iterable[str]) -> None:
    """Raise UsageError for the first word of a selection that fits no rule."""
    for word in words:
        _prefix(word, all_rules())


#: What to type, by what is needed to fix something.
_WAYS: Mapping[Safety | None, str] = {
    "safe": "ckptkit validate {} --fix fixes {}",
    "unsafe": "ckptkit validate {} --fix --unsafe-fixes may fix {}",
    None: "ckptkit validate {} says more",
}


def way_to_fix(codes: Iterable[str], path: str) -> str:
    """The command that fixes findings of these codes in a folder, as far as any does, else the one that explains them.

    >>> way_to_fix(["CK301"], "my model")
    "ckptkit validate 'my model' --fix fixes CK301"
    """
    fixes = {rule.code: rule.fix for rule in all_rules()}
    found = {code: fixes.get(code) for code in dict.fromkeys(codes)}
    safe = [code for code, safety in found.items() if safety == "safe"]
    unsafe = [code for code, safety in found.items() if safety == "unsafe"]
    way = _WAYS["unsafe" if unsafe else "safe" if safe else None]
    return way.format(shlex.quote(path), ", ".join((*safe, *unsafe)))


def rules_of_plans() -> tuple[Rule, ...]:
    """The rules that a conversion asks before it reads any weight."""
    return tuple(rule for rule in all_rules() if not rule.samples)


def errors_that(*consequences: OnConversion) -> tuple[Rule, ...]:
    """Those of severity error with one of these consequences for a conversion."""
    return tuple(r for r in rules_of_plans() if r.severity is Severity.ERROR and r.conversion in consequences)


def _neighbours(word: str) -> str:
    """The rules that somebody may have meant: those of the same family, or the one with the most similar name."""
    rules = all_rules()
    everything = "ckptkit rule --all lists them all"
    family = [candidate.code for candidate in rules if candidate.code.startswith(word.upper()[:3])]
    if word[:2].upper() == "CK" and family:
        return f"near it: {', '.join(family)}; {everything}"
    return did_you_mean(word, [candidate.name for candidate in rules], everything)


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
    everything = "give ALL, a prefix such as CK3, a code, a family or a rule's name"
    known = [*(candidate.name for candidate in rules), *FAMILIES.values()]
    raise UsageError(f"no rule fits {word!r}", help=did_you_mean(text, known, everything))


def _specificity(candidate: Rule, prefixes: tuple[str, ...]) -> int:
    return max((len(prefix) for prefix in prefixes if candidate.code.startswith(prefix)), default=-1)
