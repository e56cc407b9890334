"""A sample of the recorded corpus, loaded again: engines do what was recorded."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus
from tests.accuracy.measure import JUDGES, outcomes
from tests.accuracy.records import read

#: Every so many of what is recorded is loaded again, from every kind.
EVERY = 40


@pytest.mark.parametrize(
    "name", ["vllm-0.32.0", "sglang-0.5.23", "transformers-5.16.1", "llamacpp-b11312", "quark-0.13"]
)
def test_engines_do_what_was_recorded(name: str) -> None:
    judge = JUDGES[name]
    record = read(judge.path)
    wanted = [corpus()[entry] for entry in sorted(record.loads)[::EVERY]]
    found = {entry.id: seen.outcome for entry, seen in outcomes(judge, wanted)}
    assert found == {entry.id: record.loads[entry.id].outcome for entry in wanted}
