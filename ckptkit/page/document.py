"""The document behind a page, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptkit.engines.registry import label_of
from ckptkit.errors import plural
from ckptkit.record import record
from ckptkit.report.comparison_text import by_reason, kinds_of, not_told_by
from ckptkit.report.text import change_lines, plan_rows
from ckptkit.shown import Look, Shown
from ckptkit.views.skip_table import grouped

if TYPE_CHECKING:
    from ckptkit.conversion.comparison import Comparison
    from ckptkit.conversion.plan import Plan
    from ckptkit.errors import CkptkitError, Fault
    from ckptkit.model.inventory import Inventory
    from ckptkit.page.findings import FindingGroup
    from ckptkit.page.tensors import TensorTable
    from ckptkit.validation import Validation
    from ckptkit.views.by_layer import Chart
    from ckptkit.views.matrix import Matrix
    from ckptkit.views.skip_table import SkipTable

#: Weights of a comparison that a page lists one by one, the worst first.
MOST_WEIGHTS = 100
#: Kinds of differences that a page lists; the rest is counted.
MOST_DIFFERENCES = 100


@record
class Conversion:
    """A plan to convert the checkpoint, or why there is none."""

    target: str
    plan: Plan | CkptkitError

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``conversion`` of ``schemas/page.json``."""
        from ckptkit.errors import CkptkitError

        if isinstance(self.plan, CkptkitError):
            error = self.plan
            return {
                "target": self.target,
                "refused": {
                    "message": error.message,
                    "help": error.help,
                    "faults": [_fault(fault) for fault in error.faults],
                },
            }
        plan = self.plan
        rows = [
            {"operation": operation, "count": count, "before": before, "after": after, "reason": reason}
            for operation, count, before, after, reason in plan_rows(plan.steps)
        ]
        return {
            "target": self.target,
            "plan": {
                "source_format": plan.source_format,
                "target_format": plan.target_format,
                "verdict": plan.verdict.value,
                "cost": plan.cost.to_json(),
                "changed": plan.changed,
                "kept": plan.kept,
                "steps": rows,
                "changes": list(change_lines(plan)),
                "gives_up": list(plan.gives_up),
                "notes": list(plan.notes),
            },
        }


@record(repr=False)
class Page(Shown):
    """Everything that a page shows of one checkpoint.

    ``charts`` hold what was measured by layer: scales from level "scales" on, weights at "full", errors where there is
    a ``comparison`` of weights. ``undrawn`` counts the modules in groups (NVFP4, MXFP4, INT8, ...) whose scales only
    level "full" reads. :meth:`to_json` is all that the page knows.
    """

    inventory: Inventory
    validation: Validation
    findings: tuple[FindingGroup, ...]
    tensors: TensorTable
    charts: tuple[Chart, ...]
    undrawn: int = 0
    comparison: Comparison | None = None
    conversion: Conversion | None = None

    def _look(self) -> Look:
        look = self.validation._look()
        return replace(look, facts=[*look.facts, plural(len(self.charts), "chart")])

    @property
    def label(self) -> str:
        """The checkpoint, as it was asked for."""
        return self.validation.label

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/page.json``."""
        validation = self.validation
        return {
            "path": self.label,
            "level": validation.level.name.lower(),
            "clean": validation.clean,
            "counts": validation.counts,
            "hidden": validation.hidden,
            "settings": list(validation.settings.files),
            "summary": self.inventory.to_json(),
            "findings": [group.to_json() for group in self.findings],
            "matrix": None if validation.matrix is None else _matrix(validation.matrix),
            "skip_lists": None if validation.skip_table is None else _skip_lists(validation.skip_table),
            "charts": [chart.to_json() for chart in self.charts],
            "undrawn": self.undrawn,
            "conversion": None if self.conversion is None else self.conversion.to_json(),
            "comparison": None if self.comparison is None else _comparison(self.comparison),
            "tensors": self.tensors.to_json(),
        }


def _fault(fault: Fault) -> dict[str, Any]:
    stated = {name: getattr(fault, name) for name in ("message", "file", "tensor", "expected", "found", "help")}
    return {name: value for name, value in stated.items() if value is not None}


def _matrix(matrix: Matrix) -> list[dict[str, Any]]:
    return [row.to_json() for row in matrix.rows]


def _skip_lists(table: SkipTable) -> dict[str, Any]:
    """The skip table by kind of module: one row for all that are stored and treated alike."""
    rows = [
        {
            "kind": kind if len(members) > 1 else members[0].module,
            "count": len(members),
            "stored": stored,
            "decisions": dict(decisions),
            "contradicts": list(members[0].contradicts),
        }
        for (kind, stored, decisions), members in grouped(table).items()
    ]
    return {
        "engines": [{"engine": name, "label": label_of(name)} for name in table.engines],
        "contradictions": len(table.contradictions),
        "rows": rows,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    """The comparison without what there may be a hundred thousand times."""
    errors = comparison.errors
    kinds = kinds_of(not_told_by(errors, comparison.differences))
    document = comparison.to_json()
    document["differences"] = [{**alike[0].to_json(), "count": len(alike)} for alike in kinds[:MOST_DIFFERENCES]]
    document["differences_in_all"] = len(comparison.differences)
    document["declared"] = len(comparison.declared)
    if errors is not None:
        document["errors"]["weights"] = [weight.to_json() for weight in errors.weights[:MOST_WEIGHTS]]
        document["errors"]["weights_in_all"] = len(errors.weights)
        document["errors"]["not_measured"] = [
            {"reason": reason, "first": own[0], "count": len(own)} for reason, own in by_reason(errors).items()
        ]
    return document
