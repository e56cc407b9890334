"""CK117 duplicate-key."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK117",
    "duplicate-key",
    Severity.WARNING,
    unreported="readers differ on which of two equal keys counts, found by comparing them",
)
def duplicate_key(context: Context) -> Iterator[Fault]:
    """A JSON object or a safetensors header is written so that readers differ: a key twice, an unknown field, blanks.

    Why it hurts: the official reader lets it pass and keeps the last entry; another reader may keep the first, or
    refuse the file.

    Example: a header that names ``lm_head.weight`` twice with different offsets.

    Fix: export the file again.
    """
    yield from context.faults(
        "header-duplicate-key",
        "json-duplicate-key",
        "header-unknown-field",
        "header-entry-form",
        "header-leading-blanks",
    )
