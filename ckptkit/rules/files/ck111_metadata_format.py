"""CK111 metadata-format, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import File, Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, SetMetadata
from ckptkit.errors import Fault


@rule(
    "CK111",
    "metadata-format",
    Severity.INFO,
    conversion=OnConversion.FIXED,
    reports=(
        "foundation-model-stack/fastsafetensors#96",
        "safetensors/safetensors#549",
        "ml-explore/mlx#743",
    ),
)
def metadata_format(context: Context) -> Iterator[Fault]:
    """A shard's ``__metadata__`` does not say ``format: pt``.

    Why it hurts: older transformers and some fast loaders refuse such a shard.

    Example: Quark's file-to-file export and several converters write no metadata at all.

    Fix: rewrite the header.
    """
    for header in context.container.headers:
        found = (header.metadata or {}).get("format")
        if found is None and header.tensors:
            yield Fault("metadata-format", "no format in __metadata__", header.shard, None, "format: pt", "nothing")


@fix("safe", "CK111")
def add_format_metadata(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say ``format: pt``, as every exporter from torch does."""
    if isinstance(finding.subject, File):
        yield SetMetadata(finding.subject.name, "format", "pt")
