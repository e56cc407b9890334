"""Fixing a checkpoint in memory: fixes are tried one rule at a time, and each is judged by all rules before it stays.

A fix stays if every finding that it is for is gone and no other error or warning came. What it uncovers - a
renamed scale turns out to have the wrong rank - may be fixed in the same attempt; if that fails, both go back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import Fixer, Level, Rule, Safety, all_fixers, objection
from ckptkit.checks.runner import Report
from ckptkit.edits.changes import Edit
from ckptkit.edits.editor import EditConflictError
from ckptkit.edits.workspace import Workspace
from ckptkit.errors import CkptkitError, plural
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.container import Container

#: How many fixes may hang on one another in one attempt.
_DEPTH = 4
#: Up to so many findings are tried one by one when they cannot be fixed together.
_FEW = 32


@record
class Applied:
    """A fix that stays: how many findings it cleared, by which edits."""

    code: str
    name: str
    safety: Safety
    findings: int
    edits: tuple[Edit, ...]


@record
class Reverted:
    """A fix that was taken back, and why: a defect of the fix or of the rule, to be reported as one."""

    code: str
    name: str
    reason: str


@record(repr=False)
class Fixes(Shown):
    """What a checkpoint would be, by which fixes, and what the rules say before and after."""

    workspace: Workspace
    applied: tuple[Applied, ...]
    reverted: tuple[Reverted, ...]
    before: Report
    after: Report

    def _look(self) -> Look:
        findings = sum(fix.findings for fix in self.applied)
        edits = sum(len(fix.edits) for fix in self.applied)
        facts = [f"{plural(findings, 'finding')} cleared by {plural(edits, 'edit')}"]
        if self.reverted:
            facts.append(f"{len(self.reverted):,} taken back")
        rows = ((fix.code, fix.name, fix.safety, str(edit)) for fix in self.applied for edit in fix.edits)
        return Look(self.before.label, facts, ("code", "rule", "safety", "edit"), rows, edits)

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.workspace.changed)

    def to_json(self) -> dict[str, Any]:
        """What was applied and taken back, as in the part ``fixes`` of ``schemas/report.json``."""
        return {
            "applied": [
                {
                    "code": fix.code,
                    "name": fix.name,
                    "safety": fix.safety,
                    "findings": fix.findings,
                    "edits": [str(edit) for edit in fix.edits],
                }
                for fix in self.applied
            ],
            "reverted": [{"code": item.code, "name": item.name, "reason": item.reason} for item in self.reverted],
        }


@record
class _State:
    """A workspace with what the rules say about it, and the fixes that led to it."""

    workspace: Workspace
    context: Context
    report: Report
    applied: tuple[Applied, ...] = ()


class _RevertError(Exception):
    """An attempt that must be taken back."""


def find_fixes(
    container: Container,
    level: Level,
    *,
    unsafe: bool = False,
    rules: tuple[Rule, ...] | None = None,
    engines: frozenset[str] | None = None,
    notes: bool = True,
) -> Fixes:
    """Try the fixes of all findings, or of those of ``rules`` that hit ``engines``. Nothing is written.

    Without ``notes``, findings of severity info stay as they are: a clean checkpoint is not rewritten.
    """
    return _Search(level, unsafe, rules, engines, notes).run(container)


class _Search:
    def __init__(
        self,
        level: Level,
        unsafe: bool,
        rules: tuple[Rule, ...] | None,
        engines: frozenset[str] | None,
        notes: bool,
    ) -> None:
        # No fix touches weights, so what only weights can show need not be looked at again.
        self.level = min(level, Level.SCALES)
        self.chosen = None if rules is None else frozenset(rule.code for rule in rules)
        self.engines = engines
        self.notes = notes
        allowed = ("safe", "unsafe") if unsafe else ("safe",)
        self.fixers = {
            code: found
            for code, fixers in all_fixers().items()
            if (found := tuple(fixer for fixer in fixers if fixer.safety in allowed))
        }

    def run(self, container: Container) -> Fixes:
        first = state = self._checked(Workspace.of(container), ())
        if not state.context.may_be_fp8:  # what is not ours to judge is not ours to change
            return Fixes(state.workspace, (), (), first.report, state.report)
        reverted: list[Reverted] = []
        tried: set[tuple[str, int]] = set()
        while (code := self._next(state, tried)) is not None:
            # A code is tried again after another fix has changed something.
            tried.add((code, len(state.applied)))
            findings = [finding for finding in state.report.findings if finding.code == code]
            try:
                state = self._attempt(state, findings, state.report, _DEPTH) or state
            except _RevertError as error:
                state, failures = self._one_by_one(state, findings, error)
                reverted += failures
        left = {finding.code for finding in state.report.findings}
        unfixed = dict.fromkeys(item for item in reverted if item.code in left)
        return Fixes(state.workspace, _merged(state.applied), tuple(unfixed), first.report, state.report)

    def _one_by_one(self, state: _State, findings: list[Finding], error: _RevertError) -> tuple[_State, list[Reverted]]:
        """What could not be fixed together, each for itself, if it is not too much: one must not spoil the others."""
        failures = []
        for finding in findings if 1 < len(findings) <= _FEW else ():
            try:
                state = self._attempt(state, [finding], state.report, _DEPTH) or state
            except _RevertError as reason:
                error = reason
        if any(_keys(state, findings) & _keys(state, state.report.findings)):
            failures = [Reverted(findings[0].code, findings[0].name, str(error))]
        return state, failures

    def _next(self, state: _State, tried: set[tuple[str, int]]) -> str | None:
        for finding in state.report.findings:
            wanted = self.chosen is None or finding.code in self.chosen
            wanted = wanted and (self.notes or finding.severity is not Severity.INFO)
            hits = self.engines is None or finding.hits(self.engines)
            if wanted and hits and finding.code in self.fixers and (finding.code, len(state.applied)) not in tried:
                return finding.code
        return None

    def _checked(self, workspace: Workspace, applied: tuple[Applied, ...]) -> _State:
        """The state that a workspace is in, with what the rules say of it."""
        context = runner.read_context(workspace.reopened() if workspace.changed else workspace.original)
        return _State(workspace, context, runner.run(context, self.level, engines=self.engines), applied)

    def _attempt(self, state: _State, findings: list[Finding], before: Report, depth: int) -> _State | None:
        """The state after a rule's fixes; None if there is nothing that they can do. Raises _RevertError."""
        code = findings[0].code
        targets: list[Finding] = []
        edits: dict[str, Edit] = {}
        fixer: Fixer | None = None
        for finding in findings:
            for candidate in self.fixers[code]:
                own = list(candidate.function(state.context, finding))
                if own:
                    edits.update((repr(edit), edit) for edit in own)
                    targets.append(finding)
                    fixer = candidate
                    break
        if fixer is None:
            return None
        reason = objection(edits.values(), state.report.findings)
        if reason is not None:
            raise _RevertError(reason)
        name = targets[0].name
        applied = Applied(code, name, fixer.safety, len(targets), tuple(edits.values()))
        try:
            result = self._checked(state.workspace.apply(applied.edits), (*state.applied, applied))
        except (EditConflictError, CkptkitError) as error:
            raise _RevertError(str(error)) from error
        left = _keys(result, result.report.findings) & _keys(state, targets)
        if left:
            raise _RevertError(f"{len(targets)} findings would not go: {_described(next(iter(left)))}")
        return self._cover(result, before, state, depth)

    def _cover(self, state: _State, before: Report, origin: _State, depth: int) -> _State:
        """Clear what a fix has uncovered, or take it back."""
        known = _keys(origin, before.findings)
        while new := _keys(state, _harmful(state.report)) - known:
            key = next(iter(new))
            findings = [finding for finding in state.report.findings if finding.code == key[0]]
            fixed = self._attempt(state, findings, before, depth - 1) if depth and key[0] in self.fixers else None
            if fixed is None:
                raise _RevertError(f"it would bring up {_described(key)}")
            state = fixed
        return state


def _merged(applied: Iterable[Applied]) -> tuple[Applied, ...]:
    """Fixes of one rule that were made in several attempts as one."""
    merged: dict[tuple[str, Safety], Applied] = {}
    for fix in applied:
        known = merged.get((fix.code, fix.safety))
        if known is not None:
            fix = replace(fix, findings=known.findings + fix.findings, edits=known.edits + fix.edits)
        merged[fix.code, fix.safety] = fix
    return tuple(merged.values())


_Key = tuple[str, str, str, str]


def _keys(state: _State, findings: Iterable[Finding]) -> Counter[_Key]:
    """Findings by what makes them the same before and after a renaming: the rule and the original place.

    Several findings may be about a whole file; those are told apart by what they say.
    """
    return Counter(
        (
            finding.code,
            finding.file or "",
            state.workspace.origin(finding.tensor or ""),
            "" if finding.tensor else f"{finding.message}: {finding.found}" if finding.found else finding.message,
        )
        for finding in findings
    )


def _harmful(report: Report) -> list[Finding]:
    """The findings that a fix must not make: errors and warnings. A note may come with a good deed."""
    return [finding for finding in report.findings if finding.severity is not Severity.INFO]


def _described(key: _Key) -> str:
    """A finding's key in words."""
    return " ".join(part for part in key if part)
