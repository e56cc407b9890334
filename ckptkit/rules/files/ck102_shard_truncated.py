"""CK102 shard-truncated."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK102",
    "shard-truncated",
    Severity.ERROR,
    reports=(
        "QwenLM/Qwen#462",
        "run-ai/runai-model-streamer#121",
    ),
)
def shard_truncated(context: Context) -> Iterator[Fault]:
    """A shard ends before its last tensor, or bytes follow the last tensor.

    Why it hurts: the file's size must be exactly 8 + header + data. Anything else is a download that broke off, or
    a file that was overwritten or joined, and loaders fail half-way through a load that may take minutes.

    Example: a shard of 4,999,802,720 bytes whose header asks for 5,000,900,000.

    Fix: download or export the shard again.
    """
    yield from context.faults("header-truncated", "header-too-large", "data-truncated", "data-trailing")
