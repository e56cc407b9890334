"""Findings for a page: those that differ in numbers within names once, with the rows of the tensors that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckptkit.checks.registry import by_code
from ckptkit.report.findings_text import alike, by_rule, consequences, fix_command

if TYPE_CHECKING:
    from ckptkit.checks.finding import Finding
    from ckptkit.validation import Validation


@dataclass(frozen=True)
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
            "rule": rule.summary,
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
    """The rows of a tensor or a module by name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tensors: dict[str, int] = {}
        self._modules: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            self._tensors[name] = row
            self._modules.setdefault(name.rpartition(".")[0], []).append(row)

    def of(self, name: str | None) -> Iterator[int]:
        if name is None:
            return
        row = self._tensors.get(name)
        if row is not None:
            yield row
        else:
            yield from self._modules.get(name, ())
