"""Which findings can be fixed. A rule may have a fix that some of its findings are beyond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.registry import Safety, all_fixers, objection


def offers(context: Context, findings: Iterable[Finding]) -> Mapping[Finding, Safety]:
    """The findings for which a fix has edits, and whether it may make them without asking. Nothing is tried out."""
    fixers, findings = all_fixers(), tuple(findings)
    found: dict[Finding, Safety] = {}
    for finding in findings:
        for fixer in fixers.get(finding.code, ()):
            edits = tuple(fixer.function(context, finding))
            if edits:
                if objection(edits, findings) is None:
                    found[finding] = fixer.safety
                break
    return found
