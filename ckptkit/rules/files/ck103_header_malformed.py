"""CK103 header-malformed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK103",
    "header-malformed",
    Severity.ERROR,
    reports=(
        "safetensors/safetensors#401",
        "ml-explore/mlx#3363",
        "ohdearquant/lattice#752",
    ),
)
def header_malformed(context: Context) -> Iterator[Fault]:
    """A safetensors header is not valid: bad JSON, gaps, overlaps, or sizes that contradict dtype x shape.

    Why it hurts: the official library refuses such a file; hand-written readers may read out of bounds, or give two
    tensors the same bytes.

    Example: a tensor F8_E4M3 [64, 64] with ``data_offsets`` [0, 2048].

    Fix: export the shard again.
    """
    yield from context.faults(
        "header-invalid-json",
        "header-nesting",
        "header-duplicate-field",
        "header-metadata",
        "header-entry",
        "header-dtype",
        "header-shape",
        "header-offsets",
        "header-overflow",
        "header-size",
        "header-hole",
        "header-overlap",
    )
