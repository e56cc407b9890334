"""CK109 index-absent, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.rules.files.index_fixes import rebuild_index
from ckptkit.storage.agreement import ONE_FILE, OTHER_SETS


@rule("CK109", "index-absent", Severity.ERROR, conversion=OnConversion.FIXED, reports=("unslothai/unsloth#2355",))
def index_absent(context: Context) -> Iterator[Fault]:
    """Several shards, but no index; or one of another name than model.safetensors.

    Why it hurts: transformers cannot load such a folder, or reads ``model.safetensors`` alone where there is one.

    Example: three files ``model-0000N-of-00003.safetensors`` and no ``model.safetensors.index.json``.

    Fix: rebuild the index from the headers.
    """
    shards = [header.shard for header in context.container.headers]
    for fault in context.faults("index-absent"):
        yield Observation.of(fault, variant="one-is-read" if ONE_FILE in shards else None)
    other = context.container.index is None and len(shards) == 1 and shards[0] != ONE_FILE
    if other and context.checkpoint is not None and not shards[0].startswith(OTHER_SETS):
        message = "the one weight file is not called as loaders look for it"
        yield Observation("file-name", message, shards[0], None, ONE_FILE, shards[0], severity=Severity.WARNING)


fix("safe", "CK109")(rebuild_index)
