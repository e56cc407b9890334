"""Writing the index anew."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.edits.changes import Edit, RebuildIndex


def rebuild_index(context: Context, finding: Finding) -> Iterator[Edit]:
    """List every stored tensor: engines load what is stored, whatever the index says."""
    yield RebuildIndex()
