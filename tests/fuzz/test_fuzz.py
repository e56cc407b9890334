"""The short of the long: kept inputs get the verdict that they got, and new ones no foreign exception."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptkit import api
from ckptkit.errors import CkptkitError
from tests.fuzz import corpus, folders
from tests.fuzz.folders import COMMANDS, FuzzError, attack, on_files, patience
from tests.fuzz.mutate import Choose
from tests.fuzz.targets import TARGETS, judged


@pytest.mark.parametrize("target", list(TARGETS))
def test_kept_inputs_get_their_verdicts(target: str) -> None:
    kept = corpus.load(target)
    assert len(kept) >= 5 and len({item.verdict for item in kept}) > 1
    wrong = [
        (item.data[:200], item.verdict, now) for item in kept if (now := judged(target, item.data)) != item.verdict
    ]
    assert wrong == []


def chooser(data: st.DataObject) -> Choose:
    """Choices that hypothesis makes, and makes smaller once something is found."""
    return lambda n: data.draw(st.integers(0, n - 1))


@pytest.mark.parametrize("target", list(TARGETS))
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_inputs_end_in_a_verdict(target: str, data: st.DataObject) -> None:
    seeds = TARGETS[target].seeds()
    mutated = seeds[data.draw(st.integers(0, len(seeds) - 1))]
    for _ in range(data.draw(st.integers(1, 3))):
        mutated = TARGETS[target].mutate(mutated, chooser(data))
    assert judged(target, mutated)


@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_commands_on_mutated_folders_end_in_words(data: st.DataObject) -> None:
    assert sum(attack(chooser(data)).values()) == len(COMMANDS)


ONE = {"config.json": b"{}"}


def foreign(*arguments: object, **options: object) -> object:
    raise KeyError("x")


def endless(*arguments: object, **options: object) -> object:
    while True:
        pass


def untidy(path: str, **options: object) -> object:
    (Path(path) / "left").touch()
    raise CkptkitError("refused")


@pytest.mark.parametrize(
    ("broken", "words"), [(foreign, "KeyError"), (endless, "more than 0.1 s"), (untidy, "is not what it was")]
)
def test_what_is_wrong_is_found(broken: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness can fail: at a foreign exception, a hang, a folder that changed."""
    monkeypatch.setattr(api, "look", broken)
    monkeypatch.setattr(folders, "PATIENCE", 0.1)
    with pytest.raises(FuzzError, match=words):
        on_files(ONE, ONE, (("inspect", "@"),))


def test_patience_ends_with_its_block() -> None:
    with patience(0.05):
        pass
    sum(range(10**6))
