"""Reports as JUnit XML, which continuous-integration services read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ckptkit.errors import printable
from ckptkit.report.faults_text import details
from ckptkit.report.findings_text import first_line

if TYPE_CHECKING:
    from ckptkit.checks.finding import Finding
    from ckptkit.checks.registry import Rule
    from ckptkit.checks.runner import Report

#: Characters that XML 1.0 cannot hold, not even as references.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(reports: Sequence[Report], rules: Mapping[str, Rule], unread: Mapping[str, str]) -> str:
    """A suite for each checkpoint, a case for each finding; errors and warnings fail, info passes with a word.

    A checkpoint that could not be looked at is a suite with one error.
    """
    root = ElementTree.Element("testsuites", name="ckptkit")
    for report in reports:
        failures = [finding for finding in report.findings if finding.severity.value != "info"]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_legal(report.label),
            tests=str(max(1, len(report.findings))),
            failures=str(len(failures)),
            errors="0",
        )
        if not report.findings:
            ElementTree.SubElement(suite, "testcase", name="clean", classname=_legal(report.label))
        for finding in report.findings:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                name=_legal(f"{finding.code} {finding.name} {finding.tensor or finding.file or ''}".rstrip()),
                classname=_legal(report.label),
            )
            _outcome(case, finding)
    for path, message in unread.items():
        suite = ElementTree.SubElement(root, "testsuite", name=_legal(path), tests="1", failures="0", errors="1")
        case = ElementTree.SubElement(suite, "testcase", name="not checked", classname=_legal(path))
        ElementTree.SubElement(case, "error", message=_legal(message))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _outcome(case: ElementTree.Element, finding: Finding) -> None:
    line = _legal(first_line(finding))
    body = "\n".join([line, *(_legal(f"{label}: {value}") for label, value in details(finding))])
    if finding.severity.value == "info":
        ElementTree.SubElement(case, "system-out").text = body
    else:
        failure = ElementTree.SubElement(case, "failure", message=line, type=finding.severity.value)
        failure.text = body


def _legal(text: str) -> str:
    r"""Text that XML can hold, and that a terminal can show; line breaks stay.

    >>> _legal("a\x00b\uffff\nc\x9b")
    'a\\x00b\\uffff\nc\\x9b'
    """
    return _ILLEGAL.sub("?", "\n".join(map(printable, text.split("\n"))))
