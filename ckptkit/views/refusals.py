"""What asking about an engine adds to a report: an error for each reason that no rule gives why it does not serve.

A checkpoint is not wrong for what one engine lacks. Who asks for that engine wants to know, and not only from a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.runner import Report
from ckptkit.engines.base import Effect, Outcome
from ckptkit.engines.support import Answer
from ckptkit.views.matrix import Matrix, MatrixRow

#: Not a rule: it says what a row of the table says. Its code is taken all the same.
CODE, NAME = "CK198", "engine-refuses"

#: An answer to a part -> how it is said of the engine, and what it does.
_ANSWERS = {
    Answer.REFUSED.value: ("refuses this", Outcome.ERROR),
    Answer.SILENT.value: ("takes this wrong", Outcome.SILENT),
}


def with_refusals(report: Report, matrix: Matrix) -> Report:
    """The report with what its own findings do not tell of the engines in ``matrix``: what each refuses or takes
    wrong, and that it does not read the format."""
    found = tuple(finding for row in matrix.rows for finding in _refusals(row))
    return replace(report, findings=(*found, *report.findings)) if found else report


def _refusals(row: MatrixRow) -> Iterator[Finding]:
    if row.verdict == "does not read":
        yield _finding(row, "does not read this", row.note, Outcome.ERROR)
    for answer, (said, outcome) in _ANSWERS.items():
        for reason in row.parts.get(answer, ()):
            yield _finding(row, said, reason, outcome)


def _finding(row: MatrixRow, said: str, reason: str, outcome: Outcome) -> Finding:
    message = f"{row.label} {row.version} {said}: {reason}"
    return Finding(CODE, NAME, Severity.ERROR, message, engines=(Effect(row.engine, row.version, outcome),))
