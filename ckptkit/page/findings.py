"""Findings for a page: those that differ in numbers within names once, with the rows of their tensors."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ckptkit.checks.registry import by_code
from ckptkit.model.names import generalise
from ckptkit.record import record
from ckptkit.report.faults_text import alike
from ckptkit.report.findings_text import by_rule, consequences, fix_command

if TYPE_CHECKING:
    from ckptkit.checks.finding import Finding
    from ckptkit.validation import Validation


@record
class FindingGroup:
    """Findings of one rule that differ in numbers only.

    ``rows`` are those of their tensors in the table of all; a module stands for every tensor of its own. ``fixable``
    of the ``count`` findings have a fix, which ``command`` makes.
    """

    first: Finding
    count: int
    rows: tuple[int, ...]
    command: str | None
    fixable: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``findings`` of ``schemas/page.json``."""
        document = self.first.to_json()
        document.pop("engines", None)
        rule = by_code(self.first.code)
        return {
            **document,
            "rule": rule.plain_summary,
            "consequences": consequences(self.first.engines),
            "count": self.count,
            "rows": list(self.rows),
            "fix": None if self.command is None else {"command": self.command, "findings": self.fixable},
        }


def group_findings(validation: Validation, names: Iterable[str]) -> tuple[FindingGroup, ...]:
    """The groups in the order of the findings. ``names`` are those of all tensors by row."""
    rows = _Rows(names)
    rules = by_rule(validation.findings).values()
    return tuple(_group(members, validation, rows) for own in rules for members in alike(own))


def _group(members: list[Finding], validation: Validation, rows: _Rows) -> FindingGroup:
    safeties = [validation.offers[finding] for finding in members if finding in validation.offers]
    found = dict.fromkeys(row for finding in members for row in rows.of(finding.tensor))
    command = fix_command(validation, safeties[0]) if safeties else None
    return FindingGroup(members[0], len(members), tuple(found), command, len(safeties))


class _Rows:
    """The rows of whatever a finding may name: a tensor, or all tensors of a module or of what it is in.

    A ``*`` stands for any number. Of a tensor that is not stored, the rows are those of its module.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def of(self, name: str | None) -> tuple[int, ...]:
        if name is None:
            return ()
        found = self._exact.get(name)
        if found is not None:
            return (found,)
        owner = name.rpartition(".")[0]
        return self._below(name) or (self._below(owner) if owner.rpartition(".")[2] not in ("", "*") else ())

    def _below(self, owner: str) -> tuple[int, ...]:
        """The rows of the names that begin with an owner and a dot."""
        names = self._kinds if "*" in owner else self._sorted
        begin = bisect_left(names, (f"{owner}.", -1))
        end = bisect_left(names, (f"{owner}/", -1))  # the character after the dot
        return tuple(row for _, row in names[begin:end])

    @cached_property
    def _exact(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._names)}

    @cached_property
    def _sorted(self) -> list[tuple[str, int]]:
        return sorted((name, row) for row, name in enumerate(self._names))

    @cached_property
    def _kinds(self) -> list[tuple[str, int]]:
        return sorted((generalise(name), row) for row, name in enumerate(self._names))
