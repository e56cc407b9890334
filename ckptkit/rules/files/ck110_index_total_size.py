"""CK110 index-total-size, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, RebuildIndex
from ckptkit.errors import Fault


@rule(
    "CK110",
    "index-total-size",
    Severity.INFO,
    conversion=OnConversion.FIXED,
    reports=("huggingface/huggingface_hub#4391",),
)
def index_total_size(context: Context) -> Iterator[Fault]:
    """The index's ``metadata.total_size`` is missing or is not the size of the tensors.

    Why it hurts: tools that size downloads or count parameters from it are wrong; no engine fails.

    Example: Quark's file-to-file export writes the size of the file, header included.

    Fix: rewrite the index.
    """
    yield from context.faults("index-total-size")


@fix("safe", "CK110")
def correct_total_size(context: Context, finding: Finding) -> Iterator[Edit]:
    """Count the bytes of all tensors again."""
    yield RebuildIndex(places=False)
