"""What we say of a checkpoint before any engine has seen it, and whether that was right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.storage.container import open_container
from ckptkit.views.matrix import MatrixRow, build_matrix
from tests.accuracy.corpus import Files, corpus, files_of
from tests.accuracy.records import Record, digest
from tests.raw import MemorySource


def judged(files: Files) -> tuple[Context, Report]:
    """A checkpoint as rules and engines see it, every byte of it read."""
    context = runner.read_context(open_container(MemorySource(files)))
    return context, runner.run(context, Level.FULL)


def rows(files: Files) -> dict[str, MatrixRow]:
    """The verdict on every engine."""
    return {row.engine: row for row in build_matrix(*judged(files), loading_only=True).rows}


def say(records: Iterable[Record]) -> None:
    """Take our verdicts anew on everything recorded, and write them beside what was seen."""
    records = list(records)
    for name in sorted({name for record in records for name in record.loads}):
        files = files_of(corpus()[name]) if name in corpus() else None
        found = rows(files) if files is not None else {}
        for record in records:
            seen = record.loads.get(name)
            if seen is not None and (files is None or seen.digest != digest(files)):
                del record.loads[name]
            elif seen is not None:
                record.loads[name] = replace(seen, said=found[record.engine].verdict)
    for record in records:
        record.write()
