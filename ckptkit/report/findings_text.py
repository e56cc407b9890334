"""Findings for people: grouped by rule, coloured on terminals, with one line at the end that says how it stands.

The first line of each finding stands alone, so that ``grep error`` makes sense. What many layers share is said once:
findings that differ only in the numbers of a tensor's name are shown once and counted. Notes (severity info) get one
line each: a clean checkpoint stays a short answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from ckptkit.checks.finding import Severity
from ckptkit.engines.base import Outcome
from ckptkit.engines.registry import label_of
from ckptkit.errors import plural, printable
from ckptkit.report.faults_text import alike, details, place_of, show_details, show_first_line
from ckptkit.report.layout import SEVERITY_COLOURS, Part, print_line
from ckptkit.report.sink import console, manner
from ckptkit.report.text import traffic_words

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.checks.finding import Finding
    from ckptkit.checks.registry import Safety
    from ckptkit.checks.runner import Report
    from ckptkit.engines.base import Effect

_OUTCOME_WORDS = {
    Outcome.ERROR: "stops",
    Outcome.SILENT: "is silently wrong",
    Outcome.WARNING: "warns",
    Outcome.UNKNOWN: "may be wrong",
    Outcome.SLOW: "is slow",
}
_OPTIONS: Mapping[Safety, str] = {"safe": "--fix", "unsafe": "--fix --unsafe-fixes"}
_MARK_COLOURS: Mapping[Safety, str] = {"safe": "green", "unsafe": "yellow"}
#: The findings that can be fixed, and whether without a judgement call.
Offers: TypeAlias = "Mapping[Finding, Safety]"
_NO_OFFERS: Offers = MappingProxyType({})
#: Kinds of findings of one rule beyond this many are counted, not shown.
_SHOWN_PER_RULE = 5


def show_report(
    report: Report,
    offers: Offers = _NO_OFFERS,
    *,
    quiet: bool = False,
    named: bool = False,
    out: Console | None = None,
) -> None:
    """Findings by rule, then one line that says how the checkpoint stands; quietly, only the findings.

    ``offers`` holds the findings that can be fixed; without it nothing is said about fixes. ``named``: one of several,
    whose name and standing come first.
    """
    out = out or console()
    if named and (report.findings or not quiet):
        print_line(out, (report.label, "bold"), ": ", _standing(report), (f" ({_looked_at(report)})", "dim"))
    for code, findings in by_rule(report.findings).items():
        groups = [[finding] for finding in findings] if manner().verbose else alike(findings)
        shown = groups if manner().verbose else groups[:_SHOWN_PER_RULE]
        for group, following in zip(shown, [*shown[1:], None], strict=True):
            _show_group(out, group)
            if group[0].severity is Severity.INFO:
                continue
            # Details that the next one repeats are shown once, below the last.
            if following is None or list(details(group[0])) != list(details(following[0])):
                show_details(out, group[0])
        hidden = sum(len(group) for group in groups[len(shown) :])
        if hidden:
            print_line(out, (f"    ... and {hidden:,} more {code}", "dim"))
        harmful = [finding for finding in findings if finding.severity is not Severity.INFO]
        if harmful:
            _show_consequences(out, harmful)
            _show_fix(out, report, harmful, offers)
    if not quiet and not named:
        print_line(out, _standing(report), f": {report.label} ", (f"({_looked_at(report)})", "dim"))


def show_total(reports: Sequence[Report], failed: int, *, out: Console | None = None) -> None:
    """How all of several checkpoints stand, in one line."""
    out = out or console()
    bad = [report for report in reports if not report.clean]
    counted = Counter[str]()
    for report in bad:
        counted.update({severity: count for severity, count in report.counts.items() if severity != "info"})
    words = [f"{len(reports) - len(bad):,} clean"]
    if bad:
        listed = ", ".join(plural(count, severity) for severity, count in counted.items() if count)
        words.append(f"{len(bad):,} with {listed}")
    if failed:
        words.append(f"{failed:,} not checked")
    style = "bold red" if failed or counted["error"] else "bold yellow" if bad else "bold green"
    print_line(out, (f"{plural(len(reports) + failed, 'checkpoint')}: {', '.join(words)}", style))


def show_origin(files: Sequence[str], *, out: Console | None = None) -> None:
    """The settings files that had a say: a checkpoint may come with one that ignores what matters."""
    if files:
        print_line(out or console(), ("    settings: ", "dim"), ", ".join(files))


def show_statistics(reports: Sequence[Report], offers: Offers = _NO_OFFERS, *, out: Console | None = None) -> None:
    """How often each rule fired over all reports, the most frequent first, and how the first of ``offers`` is made."""
    out = out or console()
    counted = by_rule(finding for report in reports for finding in report.findings)
    ordered = sorted(counted.items(), key=lambda item: (-len(item[1]), item[0]))
    width = max((len(f"{len(findings):,}") for _, findings in ordered), default=1)
    for code, findings in ordered:
        severity = findings[0].severity.value
        safety = next((offers[finding] for finding in findings if finding in offers), None)
        mark: Part = (f" {_OPTIONS[safety]}", _MARK_COLOURS[safety]) if safety else ""
        count = f"{len(findings):>{width},}  "
        shown = (f"{severity:7}", SEVERITY_COLOURS[severity])
        print_line(out, count, (code, "bold"), "  ", shown, f"  {findings[0].name}", mark)
    total = sum(len(findings) for _, findings in ordered)
    where = f"{plural(len(ordered), 'rule')} in {plural(len(reports), 'checkpoint')}"
    print_line(out, f"{plural(total, 'finding')} of {where}")


def by_rule(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings by code, in the order in which the codes first occur."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.code, []).append(finding)
    return grouped


def first_line(finding: Finding) -> str:
    """Place and message, without severity and code: what every text format shows of a finding."""
    place = place_of(finding)
    return f"{place}: {printable(finding.message)}" if place else printable(finding.message)


def consequences(effects: Iterable[Effect]) -> str:
    """Who suffers and how, in one line; empty when nobody is known to.

    >>> from ckptkit.engines.base import Effect
    >>> consequences([Effect("vllm", "main", Outcome.ERROR), Effect("sglang", "main", Outcome.OK)])
    'vLLM main stops'
    """
    harmful = [effect for effect in effects if effect.outcome.harmful]
    return ", ".join(f"{_versioned(e.engine, e.versions)} {_OUTCOME_WORDS[e.outcome]}" for e in harmful)


def _versioned(engine: str, versions: str) -> str:
    """An engine with its versions; where these are all, it alone."""
    return label_of(engine) if versions in ("", "any") else f"{label_of(engine)} {versions}"


def fix_command(report: Report, safety: Safety) -> str:
    """What to type for the fixes of a report that are as safe as that."""
    # What is not a folder on this machine cannot be fixed where it is.
    destination = "" if report.traffic is None else " --output DIR"
    return f"ckptkit validate {quote(report.label)} {_OPTIONS[safety]}{destination}"


def _show_group(out: Console, group: list[Finding]) -> None:
    """The first line of a group's first finding, and how many are like it."""
    severity = group[0].severity.value
    head: list[Part] = [(severity, SEVERITY_COLOURS[severity]), " ", (group[0].code, "bold"), " "]
    show_first_line(out, head, group, alone=group[0].severity is Severity.INFO)


def _show_consequences(out: Console, findings: list[Finding]) -> None:
    text = consequences(dict.fromkeys(effect for finding in findings for effect in finding.engines))
    if text:
        print_line(out, ("    engines: ", "dim"), text)


def _show_fix(out: Console, report: Report, findings: list[Finding], offers: Offers) -> None:
    """The command that fixes these findings, and how many of them if not all."""
    for safety in _OPTIONS:
        count = sum(offers.get(finding) == safety for finding in findings)
        if count:
            some = "" if count == len(findings) else f" ({count:,} of {len(findings):,})"
            print_line(out, ("    fix: ", "dim"), fix_command(report, safety), (some, "dim"), whole=True)


def _looked_at(report: Report) -> str:
    """What of a checkpoint was looked at."""
    counted = f"{plural(report.shards, 'shard')}, {plural(report.tensors, 'tensor')}"
    return f"{counted}, {report.what}{traffic_words(report.traffic)}"


def _standing(report: Report) -> Part:
    """How a checkpoint stands, in its colour."""
    if not report.clean:
        return counts_in_words(report), "bold red" if report.counts["error"] else "bold yellow"
    notes = report.counts[Severity.INFO.value]
    return f"clean, {plural(notes, 'note')}" if notes else "clean", "bold green"


def counts_in_words(report: Report) -> str:
    """The findings of a report by severity: "2 errors, 1 warning"."""
    words = [
        f"{count:,} info" if severity == "info" else plural(count, severity)
        for severity, count in report.counts.items()
        if count
    ]
    return ", ".join(words) or "clean"
