"""Answers are what was recorded: a changed word is a decision, not an accident."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest

from tests.answers.corpora import every, listing

RECORDED = Path(__file__).with_name("recorded")
CORPORA = dict(every())


@pytest.mark.parametrize("name", CORPORA)
def test_answers_are_the_recorded_ones(name: str) -> None:
    recorded = (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    now = listing(CORPORA[name]())
    if now != recorded:
        changes = "\n".join(list(unified_diff(recorded.splitlines(), now.splitlines(), "recorded", "now", n=1))[:60])
        pytest.fail(f"answers differ; if they are meant to: python -m tests.answers {name}\n{changes}", pytrace=False)


def test_nothing_is_recorded_that_is_not_asked() -> None:
    assert {path.stem for path in RECORDED.glob("*.txt")} == set(CORPORA)
