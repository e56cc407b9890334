"""What we say of a checkpoint before any engine has seen it, and whether that was right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.engines import registry
from ckptkit.engines.registry import engines
from ckptkit.storage.container import open_container
from ckptkit.views.matrix import MatrixRow, build_matrix
from tests.accuracy.corpus import Files, corpus, files_of
from tests.accuracy.records import Record, digest
from tests.raw import MemorySource


def judged(files: Files) -> tuple[Context, Report]:
    """A checkpoint as rules and engines see it, every byte of it read."""
    context = runner.read_context(open_container(MemorySource(files)))
    return context, runner.run(context, Level.FULL, engines=engines())


def rows(files: Files) -> dict[str, MatrixRow]:
    """The verdict on every engine."""
    return {row.engine: row for row in build_matrix(*judged(files), loading_only=True, engines=engines()).rows}


def said(files: Files, record: Record, newest: Mapping[str, str]) -> str:
    """The verdict on the release that a record is of; ``newest`` holds those on the engines' newest."""
    if engines()[record.engine].release.version == record.version:
        return newest[record.engine]
    with at_release(record.engine, record.version, record.bundles):
        return rows(files)[record.engine].verdict


@contextmanager
def at_release(name: str, version: str, bundles: Mapping[str, str]) -> Iterator[None]:
    """Judge as if this were the newest release of an engine that was examined, with these releases of libraries:
    ranges of releases then decide."""
    known = engines()
    engine = known[name]
    release = next((r for r in engine.releases if r.version == version), replace(engine.release, version=version))
    other = replace(engine, releases=(replace(release, covers=(), bundles=bundles),))
    changed = {**known, name: other}
    with patch.object(registry, "engines", lambda: changed):
        yield


def say(records: Iterable[Record]) -> None:
    """Take our verdicts anew on everything recorded, and write them beside what was seen."""
    records = list(records)
    for name in sorted({name for record in records for name in record.loads}):
        files = files_of(corpus()[name]) if name in corpus() else None
        newest = {name: row.verdict for name, row in rows(files).items()} if files is not None else {}
        for record in records:
            seen = record.loads.get(name)
            if seen is None:
                continue
            if files is None or seen.digest != digest(files):
                del record.loads[name]
            else:
                record.loads[name] = replace(seen, said=said(files, record, newest))
    for record in records:
        record.write()
