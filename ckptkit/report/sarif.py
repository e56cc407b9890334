"""Reports as SARIF 2.1.0, which code-scanning services read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ckptkit import __version__
from ckptkit.errors import printable
from ckptkit.report.faults_text import details
from ckptkit.report.findings_text import first_line
from ckptkit.storage.json_text import json_text

if TYPE_CHECKING:
    from ckptkit.checks.finding import Finding
    from ckptkit.checks.registry import Rule
    from ckptkit.checks.runner import Report

#: Where every rule has a heading of its own.
_RULES_PAGE = "https://github.com/ckptkit/ckptkit/blob/main/docs/rules.md"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def to_sarif(reports: Sequence[Report], rules: Mapping[str, Rule], failures: Mapping[str, str]) -> str:
    """One run over all checkpoints; only rules that fired are described. It failed if one could not be looked at."""
    fired = {finding.code: finding for report in reports for finding in report.findings}
    positions = {code: position for position, code in enumerate(sorted(fired))}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ckptkit",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_descriptor(rules[c]) if c in rules else _named(fired[c]) for c in positions],
                    }
                },
                "columnKind": "utf16CodeUnits",
                **({"invocations": [_failed(failures)]} if failures else {}),
                "results": [
                    _result(report, finding, positions[finding.code])
                    for report in reports
                    for finding in report.findings
                ],
            }
        ],
    }
    return json_text(document)


def _failed(failures: Mapping[str, str]) -> dict[str, Any]:
    notifications = [
        {"level": "error", "message": {"text": printable(f"{path} was not checked: {message}")}}
        for path, message in failures.items()
    ]
    return {"executionSuccessful": False, "toolExecutionNotifications": notifications}


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.plain_summary},
        "fullDescription": {"text": rule.documentation},
        "help": {"text": rule.documentation},
        "helpUri": f"{_RULES_PAGE}#{rule.code.lower()}-{rule.name}",
        "defaultConfiguration": {"level": _LEVELS[rule.severity.value]},
        "properties": {"tags": [rule.family]},
    }


def _named(finding: Finding) -> dict[str, Any]:
    """What is said of a code that no rule has: of what a checkpoint alone cannot tell."""
    return {
        "id": finding.code,
        "name": finding.name,
        "defaultConfiguration": {"level": _LEVELS[finding.severity.value]},
    }


def _result(report: Report, finding: Finding, position: int) -> dict[str, Any]:
    text = "\n".join([first_line(finding), *(f"{label}: {value}" for label, value in details(finding))])
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _uri(location_of(report.label, finding.file))}}
    }
    if finding.tensor:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.tensor, "kind": "member"}]
    return {
        "ruleId": finding.code,
        "ruleIndex": position,
        "level": _LEVELS[finding.severity.value],
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"ckptkit/v1": _fingerprint(finding)},
    }


def location_of(label: str, file: str | None) -> str:
    """Where a finding is, for services that show it on files: relative to where we run, normalised.

    What lies outside has an absolute path, and what is remote its URL.
    """
    place = f"{label.rstrip('/')}/{file}" if file else label
    if "://" in label:
        return place
    relative = os.path.relpath(place)
    return os.path.abspath(place) if relative.split(os.sep, 1)[0] == os.pardir else relative


def _uri(location: str) -> str:
    """A reference that stays valid whatever the names hold; a colon in a relative one would make it a scheme."""
    try:
        raw = os.fsencode(location)  # a folder's name need not be text
    except UnicodeEncodeError:
        raw = printable(location).encode()
    if "://" in location:
        return quote(raw, safe="/:@")
    return ("file://" if os.path.isabs(location) else "") + quote(raw, safe="/@")


def _fingerprint(finding: Finding) -> str:
    """What makes two findings of two runs the same one: the rule and the place, not the wording."""
    return sha256(
        "\0".join((finding.code, finding.file or "", finding.tensor or "")).encode(errors="backslashreplace")
    ).hexdigest()[:32]
