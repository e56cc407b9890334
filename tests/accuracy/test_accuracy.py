"""Verdicts against what engines did, and ``validate`` against the matrix, over the whole corpus."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ckptkit.checks.finding import Severity
from ckptkit.engines.registry import engines
from ckptkit.views.matrix import build_matrix
from tests.accuracy.corpus import HELD_OUT, Entry, corpus, files_of
from tests.accuracy.first import ASKED, path_of
from tests.accuracy.measure import distinct
from tests.accuracy.records import UNTRIED, digest, records
from tests.accuracy.verdicts import judged, said

#: Of conversions every so many is judged again here; ``python -m tests.accuracy`` judges all of them.
EVERY = 12
RECORDS = records()
#: Recorded verdicts that are known to be wrong, or none: docs/accuracy.md lists them. They may only become fewer.
_SOME = [entry for number, entry in enumerate(corpus().values()) if entry.kind != "converted" or number % EVERY == 0]


@pytest.mark.parametrize("part", range(8))
def test_verdicts_are_those_recorded_and_do_not_contradict_validate(part: int) -> None:
    for entry in _SOME[part::8]:
        _check(entry)


def _check(entry: Entry) -> None:
    files = files_of(entry)
    if files is None:
        return
    context, report = judged(files)
    rows = {row.engine: row for row in build_matrix(context, report, engines=engines()).rows}
    parts = build_matrix(context, report, loading_only=True, engines=engines()).rows
    loading = {row.engine: row.verdict for row in parts}
    for record in RECORDS:
        seen = record.loads.get(entry.id)
        if seen is not None:
            assert seen.digest == digest(files), f"{entry.id} is another checkpoint now: record it again"
            verdict = said(files, record, loading)
            assert seen.said == verdict, f"{entry.id}: take verdicts anew with python -m tests.accuracy"
    serious = [finding for finding in report.findings if finding.severity is not Severity.INFO]
    for engine, row in rows.items():
        harmed = [
            finding.code
            for finding in serious
            if any(e.engine == engine and e.current and e.outcome.harmful for e in finding.engines)
        ]
        if harmed:
            assert row.verdict != "loads", f"{entry.id}: {harmed} hit {engine}, and the matrix says that it loads"
        assert {code for codes in row.codes.values() for code in codes} == set(harmed), (entry.id, engine)
        if report.clean and not row.parts:
            assert row.verdict in ("loads", "not judged", "does not read", "unknown"), (entry.id, engine, row.verdict)


def test_what_is_recorded_is_of_the_corpus() -> None:
    for record in RECORDS:
        assert set(record.loads) <= set(corpus()), record.path


@pytest.mark.parametrize(
    ("engine", "least"), [("vllm", 400), ("transformers", 200), ("sglang", 200), ("llamacpp", 200), ("quark", 200)]
)
def test_enough_was_tried(engine: str, least: int) -> None:
    newest = [record for record in RECORDS if record.engine == engine][-1]
    assert sum(seen.outcome != UNTRIED for seen in newest.loads.values()) >= least


def test_what_is_wrong_or_unknown_has_a_plan() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
    from accuracy_page import plan_for, read

    for head, loads in read():
        without = [load.id for load in loads if load.outcome != UNTRIED and load.agrees is not True]
        assert [name for name in without if not plan_for(head["engine"], name)] == [], head


@pytest.mark.parametrize("kind", HELD_OUT)
def test_what_was_said_first_is_kept(kind: str) -> None:
    """Verdicts that were given before any engine had loaded a checkpoint are of the files that there are."""
    first = json.loads(path_of(kind).read_text(encoding="utf-8"))
    found = {entry.id: code for entry, _, code in distinct(corpus().values()) if entry.kind == kind}
    assert {name: row[0] for name, row in first.items()} == found
    assert all(set(row[2]) == set(row[3]) == set(ASKED[kind]) for row in first.values())
