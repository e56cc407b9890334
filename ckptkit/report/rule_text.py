"""Rules for people: one in full, or all in a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckptkit.engines.registry import label_of
from ckptkit.report.layout import Part, paragraph, print_line
from ckptkit.report.sink import console, manner

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.checks.registry import Rule

_COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
_FIXES = {"safe": "--fix", "unsafe": "--fix --unsafe-fixes", None: "hand"}
_CODE = re.compile(r"``(.+?)``", re.DOTALL)
_INDENT = 4


def show_rule(rule: Rule, *, out: Console | None = None) -> None:
    """What the rule checks, why it hurts, whom, and how to fix it; quietly, what it is."""
    out = out or console()
    severity = rule.severity.value
    print_line(out, (f"{rule.code} {rule.name}", "bold"), "  ", (severity, _COLOURS[severity]))
    if manner().quiet:
        return
    facts = [f"family {rule.family}", f"reads {rule.level.name.lower()}", f"fixed by {_FIXES[rule.fix]}"]
    print_line(out, (f"{', '.join(facts)}, since {rule.since}", "dim"))
    for part in rule.documentation.split("\n\n"):
        print_line(out)
        paragraph(out, *_styled(part))
    if rule.effects:
        print_line(out)
        print_line(out, ("Engines", "bold"))
        for effect in rule.effects:
            label = label_of(effect.engine)
            note = f" - {effect.note}" if effect.note else ""
            paragraph(out, f"  {label} {effect.versions}: {effect.outcome.value}{note}", indent=_INDENT)
    if rule.reproduced:
        print_line(out)
        paragraph(out, ("Reproduced", "bold"), f": {rule.reproduced}", indent=_INDENT)
    if rule.sources:
        print_line(out)
        print_line(out, ("Reports", "bold"))
        for source in rule.sources:
            paragraph(out, f"  {source}", indent=_INDENT)


def show_rules(rules: Iterable[Rule], *, out: Console | None = None) -> None:
    """One line for each rule, and its summary."""
    out = out or console()
    for rule in rules:
        severity = rule.severity.value
        fix = f" {_FIXES[rule.fix]}" if rule.fix else ""
        print_line(out, (rule.code, "bold"), " ", (f"{severity:7}", _COLOURS[severity]), f" {rule.name}", (fix, "dim"))
        if manner().quiet:
            continue
        paragraph(out, " " * _INDENT, *_styled(rule.summary), indent=_INDENT)


def _styled(documentation: str) -> list[Part]:
    """Words of a docstring, filled anew, and what stands between double backticks in a colour of its own."""
    pieces = _CODE.split(" ".join(documentation.split()))
    return [(piece, "cyan" if number % 2 else "") for number, piece in enumerate(pieces)]
