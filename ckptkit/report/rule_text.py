"""Rules for people: one in full, or all in a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckptkit.engines.effects import ENGINES
from ckptkit.report.text import console

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.rules.registry import Rule

_COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
_FIXES = {"safe": "--fix", "unsafe": "--fix --unsafe-fixes", None: "hand"}
_CODE = re.compile(r"``(.+?)``", re.DOTALL)


def show_rule(rule: Rule, *, out: Console | None = None) -> None:
    """What the rule checks, why it hurts, whom, and how to mend it."""
    from rich.markup import escape

    out = out or console()
    severity = rule.severity.value
    out.print(f"[bold]{rule.code}[/] [bold]{rule.name}[/]  [{_COLOURS[severity]}]{severity}[/]")
    facts = [f"family {rule.family}", f"reads {rule.level.name.lower()}", f"mended by {_FIXES[rule.fix]}"]
    out.print(f"[dim]{', '.join(facts)}, since {rule.since}[/]\n")
    out.print(_CODE.sub(r"[cyan]\1[/]", escape(rule.documentation)))
    if rule.effects:
        out.print("\n[bold]Engines[/]")
        for effect in rule.effects:
            label = ENGINES[effect.engine].label if effect.engine in ENGINES else effect.engine
            note = f" - {effect.note}" if effect.note else ""
            out.print(f"  {label} {effect.versions}: {effect.outcome.value}{note}", markup=False)
    if rule.reproduced:
        out.print("\n[bold]Reproduced[/]: ", end="")
        out.print(rule.reproduced, markup=False)
    if rule.sources:
        out.print("\n[bold]Reports[/]")
        for source in rule.sources:
            out.print(f"  {source}", markup=False)


def show_rules(rules: Iterable[Rule], *, out: Console | None = None) -> None:
    """One line for each rule."""
    out = out or console()
    for rule in rules:
        severity = rule.severity.value
        out.print(f"[bold]{rule.code}[/] [{_COLOURS[severity]}]{severity:7}[/] {rule.name}", end="")
        out.print(f" [dim]{_FIXES[rule.fix]}[/]" if rule.fix else "")
        out.print(f"    {rule.summary}", markup=False)
