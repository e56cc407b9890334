"""Reports for other programs: JSON, SARIF, GitHub annotations, JUnit, and one line for each finding.

Each renderer is a pure function from reports (and the rules behind them) to the text to print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptkit.errors import place, printable
from ckptkit.report.document import failure, stamped
from ckptkit.report.faults_text import details, said
from ckptkit.report.findings_text import counts_in_words, first_line
from ckptkit.report.junit import to_junit
from ckptkit.report.sarif import location_of, to_sarif
from ckptkit.storage.json_text import json_text

if TYPE_CHECKING:
    from ckptkit.checks.finding import Finding
    from ckptkit.checks.registry import Rule
    from ckptkit.checks.runner import Report
    from ckptkit.errors import CkptkitError

#: From reports, rules by code, and the paths that could not be looked at with what was in the way.
Renderer = Callable[["Sequence[Report]", "Mapping[str, Rule]", "Mapping[str, str]"], str]

_GITHUB_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}


def dump(documents: Iterable[Mapping[str, Any]], failures: Mapping[str, CkptkitError], *, several: bool) -> str:
    """Reports as JSON, after them why other checkpoints have none, by path.

    A list where ``several`` were asked for, however many there are, else the one.
    """
    shown = [stamped(document, "report") for document in documents]
    shown += [failure(path, error) for path, error in failures.items()]
    return json_text(shown if several else shown[0])


def to_concise(reports: Sequence[Report], rules: Mapping[str, Rule], failures: Mapping[str, str]) -> str:
    """One line for each finding, then one for each checkpoint."""
    lines = []
    for report in reports:
        label = place(report.label)
        lines += [f"{label}/{_line(finding)}" for finding in report.findings]
        lines.append(f"{label}: {counts_in_words(report)}")
    lines += [f"{place(path)}: not checked: {printable(message)}" for path, message in failures.items()]
    return "\n".join(lines)


def to_github(reports: Sequence[Report], rules: Mapping[str, Rule], failures: Mapping[str, str]) -> str:
    """Workflow commands that GitHub shows as annotations on the files."""
    lines = []
    for report in reports:
        for finding in report.findings:
            properties = {
                "file": printable(location_of(report.label, finding.file)),
                "title": f"{finding.code} {finding.name}",
            }
            text = "\n".join([first_line(finding), *(f"{label}: {value}" for label, value in details(finding))])
            listed = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items())
            lines.append(f"::{_GITHUB_COMMANDS[finding.severity.value]} {listed}::{_escape_data(text)}")
    for path, message in failures.items():
        title = _escape_property(f"{printable(path)} was not checked")
        lines.append(f"::error title={title}::{_escape_data(printable(message))}")
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    where = ": ".join(printable(part) for part in (finding.file, finding.tensor) if part)
    return f"{where}: {finding.severity.value} {finding.code} {printable(said(finding))}"


def _escape_data(text: str) -> str:
    """
    >>> _escape_data("50% of a\\nb")
    '50%25 of a%0Ab'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    """
    >>> _escape_property("a,b:c")
    'a%2Cb%3Ac'
    """
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


#: Output format -> its renderer; "text" is the one that is not here.
RENDERERS: Mapping[str, Renderer] = {
    "concise": to_concise,
    "sarif": to_sarif,
    "github": to_github,
    "junit": to_junit,
}
