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
from tests.accuracy.records import REFUSED, RIGHT, WRONG, Record, digest
from tests.raw import MemorySource

#: What a verdict says of an outcome; what it does not name is no answer.
MEANS = {
    "loads": (RIGHT,),
    "slow": (RIGHT,),
    "warns": (WRONG,),
    "silently wrong": (WRONG,),
    "refuses": (REFUSED,),
    "does not read": (REFUSED, WRONG),
}


def judged(files: Files) -> tuple[Context, Report]:
    """A checkpoint as rules and engines see it, every byte of it read."""
    context = runner.read_context(open_container(MemorySource(files)))
    return context, runner.run(context, Level.FULL)


def rows(files: Files) -> dict[str, MatrixRow]:
    """The verdict on every engine."""
    return {row.engine: row for row in build_matrix(*judged(files)).rows}


def agrees(said: str, outcome: str) -> bool | None:
    """Whether a verdict was right; None where it was none."""
    return outcome in MEANS[said] if said in MEANS else None


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
