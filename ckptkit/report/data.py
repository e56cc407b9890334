"""Reports as JSON documents."""

from __future__ import annotations

from typing import Any

from ckptkit.rules.engine import Report


def report_to_json(report: Report) -> dict[str, Any]:
    """A report as described by ``schemas/report.json``."""
    return {
        "path": report.label,
        "format": report.format,
        "dialect": report.dialect,
        "level": report.level.name.lower(),
        "clean": report.clean,
        "shards": report.shards,
        "tensors": report.tensors,
        "counts": report.counts,
        "findings": [finding.to_json() for finding in report.findings],
    }
