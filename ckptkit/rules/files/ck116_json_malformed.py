"""CK116 json-malformed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule("CK116", "json-malformed", Severity.ERROR, unreported="plain damage: nothing can be read without these files")
def json_malformed(context: Context) -> Iterator[Fault]:
    """config.json, the index, or the config beside them is missing, is not JSON, or is not the object that it must be.

    Why it hurts: nothing can be said about a checkpoint without them, and loaders fail in their own words.

    Example: an index whose ``weight_map`` is a list, or names a ``.bin`` file.

    Fix: restore the file from the export. An adapter and a model in Mistral's own format need no config.json.
    """
    beside = {entry.name for entry in context.container.side_files}
    for fault in context.faults("json-invalid", "json-too-large", "index-invalid", "index-not-a-shard"):
        yield Observation.of(fault, variant="beside" if fault.file in beside else None)
    if context.recognised.folder is None:
        yield from context.faults("config-absent")
