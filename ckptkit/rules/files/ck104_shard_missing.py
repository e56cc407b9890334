"""CK104 shard-missing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK104",
    "shard-missing",
    Severity.ERROR,
    reports=(
        "sgl-project/sglang#32279",
        "Neph0s/CoSER#3",
        "Blaizzy/mlx-vlm#1827",
    ),
)
def shard_missing(context: Context) -> Iterator[Fault]:
    """The index names a shard that is not in the folder.

    Why it hurts: some loaders skip a missing shard and leave its weights uninitialised; the server starts and
    answers nonsense.

    Example: the index speaks of 30 shards, the download stopped after 15.

    Fix: download the shard; nothing in the folder replaces it.
    """
    yield from context.faults("shard-missing")
