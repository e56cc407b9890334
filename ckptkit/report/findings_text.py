"""Findings for people: grouped by rule, coloured on terminals, with one line at the end that says how it stands.

The first line of each finding stands alone, so that ``grep error`` makes sense. What many layers share is said once:
findings that differ only in the numbers of a tensor's name are shown once and counted. Notes (severity info) get one
line each: a clean checkpoint stays a short answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ckptkit.engines.effects import ENGINES, Outcome
from ckptkit.errors import printable
from ckptkit.model import names
from ckptkit.report.text import console, plural, traffic_words
from ckptkit.rules.finding import Severity

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.engines.effects import Effect
    from ckptkit.rules.engine import Report
    from ckptkit.rules.finding import Finding
    from ckptkit.rules.registry import Rule

_COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
_OUTCOME_WORDS = {
    Outcome.ERROR: "stops",
    Outcome.SILENT: "is silently wrong",
    Outcome.WARNING: "warns",
    Outcome.SLOW: "is slow",
}
_OPTIONS: Mapping[str | None, str] = {"safe": "--fix", "unsafe": "--fix --unsafe-fixes"}
_MARKS: Mapping[str | None, str] = {"safe": " [green]--fix[/]", "unsafe": " [yellow]--fix --unsafe-fixes[/]"}
#: Kinds of findings of one rule beyond this many are counted, not shown.
_SHOWN_PER_RULE = 5


def show_report(report: Report, rules: Mapping[str, Rule], *, quiet: bool = False, out: Console | None = None) -> None:
    """Findings by rule, then one line that says how the checkpoint stands; quietly, only the findings."""
    out = out or console()
    for code, findings in by_rule(report.findings).items():
        groups = alike(findings)
        shown = groups[:_SHOWN_PER_RULE]
        for group, following in zip(shown, [*shown[1:], None], strict=True):
            _show_group(out, group)
            if group[0].severity is Severity.INFO:
                continue
            # Details that the next one repeats are shown once, below the last.
            if following is None or list(details(group[0])) != list(details(following[0])):
                _show_details(out, group[0])
        hidden = sum(len(group) for group in groups[_SHOWN_PER_RULE:])
        if hidden:
            out.print(f"    [dim]... and {hidden:,} more {code}[/]")
        if any(finding.severity is not Severity.INFO for finding in findings):
            _show_consequences(out, findings, rules.get(code))
    if not quiet:
        out.print(_summary_line(report), highlight=False)


def show_origin(files: Sequence[str], *, out: Console | None = None) -> None:
    """The settings files that had a say: a checkpoint may come with one that ignores what matters."""
    if files:
        out = out or console()
        out.print("    [dim]settings:[/] ", end="")
        out.print(", ".join(printable(file) for file in files), markup=False)


def show_statistics(reports: Sequence[Report], rules: Mapping[str, Rule], *, out: Console | None = None) -> None:
    """How often each rule fired over all reports, the most frequent first."""
    out = out or console()
    counted = by_rule(finding for report in reports for finding in report.findings)
    ordered = sorted(counted.items(), key=lambda item: (-len(item[1]), item[0]))
    width = max((len(f"{len(findings):,}") for _, findings in ordered), default=1)
    for code, findings in ordered:
        severity, rule = findings[0].severity.value, rules.get(code)
        mark = {"safe": " [green]--fix[/]", "unsafe": " [yellow]--unsafe-fixes[/]"}.get(
            rule.fix or "" if rule else "", ""
        )
        count = f"{len(findings):>{width},}"
        out.print(f"{count}  [bold]{code}[/]  [{_COLOURS[severity]}]{severity:7}[/]  {findings[0].name}{mark}")
    total = sum(len(findings) for _, findings in ordered)
    out.print(f"{plural(total, 'finding')} of {plural(len(ordered), 'rule')} in {plural(len(reports), 'checkpoint')}")


def by_rule(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings by code, in the order in which the codes first occur."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.code, []).append(finding)
    return grouped


def alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one rule, those together that differ only in numbers within names."""
    grouped: dict[tuple[str | None, ...], list[Finding]] = {}
    for finding in findings:
        texts = (finding.tensor, finding.message, finding.expected, finding.found)
        key = tuple(names.generalise(text) if text else None for text in texts)
        grouped.setdefault(key, []).append(finding)
    return list(grouped.values())


def first_line(finding: Finding) -> str:
    """Place and message, without severity and code: what every text format shows of a finding."""
    place = ": ".join(printable(part) for part in (finding.file, finding.tensor) if part)
    return f"{place}: {printable(finding.message)}" if place else printable(finding.message)


def details(finding: Finding) -> Iterator[tuple[str, str]]:
    """What follows the first line: labels and texts."""
    for label, value in (("expected", finding.expected), ("found", finding.found), ("help", finding.help)):
        if value:
            yield label, printable(value)


def consequences(effects: Iterable[Effect]) -> str:
    """Who suffers and how, in one line; empty when nobody is known to.

    >>> from ckptkit.engines.effects import Effect
    >>> consequences([Effect("vllm", "0.32", Outcome.ERROR), Effect("sglang", "main", Outcome.OK)])
    'vLLM 0.32 stops'
    """
    harmful = [effect for effect in effects if effect.outcome.harmful]
    return ", ".join(
        f"{ENGINES[e.engine].label if e.engine in ENGINES else e.engine} {e.versions}".strip()
        + f" {_OUTCOME_WORDS[e.outcome]}"
        for e in harmful
    )


def _show_group(out: Console, group: list[Finding]) -> None:
    """The first line of a group's first finding, and how many are like it."""
    finding = group[0]
    severity = finding.severity.value
    out.print(f"[{_COLOURS[severity]}]{severity}[/] [bold]{finding.code}[/] ", end="")
    out.print(first_line(finding), markup=False, end="")
    out.print(f" [dim](and {len(group) - 1:,} like it)[/]" if len(group) > 1 else "")


def _show_details(out: Console, finding: Finding) -> None:
    for label, value in details(finding):
        out.print(f"    [dim]{label}:[/] ", end="")
        out.print(value, markup=False)


def _show_consequences(out: Console, findings: list[Finding], rule: Rule | None) -> None:
    effects = dict.fromkeys(effect for finding in findings for effect in finding.engines)
    text = consequences(effects)
    if text:
        out.print("    [dim]engines:[/] ", end="")
        out.print(text, markup=False)
    option = _OPTIONS.get(rule.fix if rule else None)
    if option:
        out.print(f"    [dim]mend:[/] ckptkit validate {option}")


def _summary_line(report: Report) -> str:
    from rich.markup import escape

    what = f"{report.format} ({report.dialect})" if report.format else "unknown format"
    looked_at = (
        f"{plural(report.shards, 'shard')}, {plural(report.tensors, 'tensor')}, {what}{traffic_words(report.traffic)}"
    )
    tail = f"{escape(printable(report.label))} [dim]({escape(looked_at)})[/]"
    if report.clean:
        notes = report.counts[Severity.INFO.value]
        return f"[bold green]clean[/]{', ' + plural(notes, 'note') if notes else ''}: {tail}"
    colour = "red" if report.counts["error"] else "yellow"
    return f"[bold {colour}]{counts_in_words(report)}[/]: {tail}"


def counts_in_words(report: Report) -> str:
    """The findings of a report by severity: "2 errors, 1 warning"."""
    words = [
        f"{count:,} info" if severity == "info" else plural(count, severity)
        for severity, count in report.counts.items()
        if count
    ]
    return ", ".join(words) or "clean"
