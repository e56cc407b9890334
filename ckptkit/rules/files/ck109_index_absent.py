"""CK109 index-absent, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.rules.files.index_fixes import rebuild_index


@rule("CK109", "index-absent", Severity.ERROR, conversion=OnConversion.FIXED, reports=("unslothai/unsloth#2355",))
def index_absent(context: Context) -> Iterator[Fault]:
    """Several shards, but no index.

    Why it hurts: transformers cannot load such a folder.

    Example: three files ``model-0000N-of-00003.safetensors`` and no ``model.safetensors.index.json``.

    Fix: rebuild the index from the headers.
    """
    yield from context.faults("index-absent")


fix("safe", "CK109")(rebuild_index)
