"""Which findings can be fixed. A rule may have a fix that some of its findings are beyond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.registry import Safety, all_fixers


def offers(context: Context, findings: Iterable[Finding]) -> Mapping[Finding, Safety]:
    """The findings for which a fix has edits, and whether it may make them without asking. Nothing is tried out."""
    fixers = all_fixers()
    found: dict[Finding, Safety] = {}
    for finding in findings:
        for fixer in fixers.get(finding.code, ()):
            if any(True for _ in fixer.function(context, finding)):
                found[finding] = fixer.safety
                break
    return found
