"""Contestants take turns, as long as there is time and as far as they can do the job."""

from __future__ import annotations

import sys

import pytest

from benchmarks.contests import Contest, beside, ckptkit
from benchmarks.measure import CommandFailedError, Contestant, interleave, run

DOES = [sys.executable, "-c", "pass"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('knows no such format')"]


def test_another_version_that_cannot_do_the_job_is_left_out() -> None:
    said: list[str] = []
    ours, theirs = Contestant("ours", DOES, "ours"), Contestant("theirs", FAILS, "ours", may_fail=True)
    assert interleave([ours, theirs], 2, said.append) == [ours]
    assert len(ours.samples) == 2 and not theirs.samples
    assert any("left out" in line and "knows no such format" in line for line in said)
    with pytest.raises(CommandFailedError, match="knows no such format"):
        interleave([ours, Contestant("ours too", FAILS, "ours")], 1, said.append)


def test_no_round_begins_for_which_there_is_no_time() -> None:
    entry = Contestant("one", DOES, "one")
    interleave([entry], 50, lambda line: None, seconds=0)
    assert len(entry.samples) == 1


def test_python_keeps_what_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert run([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"]).seconds > 0


def test_only_our_commands_run_twice() -> None:
    contest = Contest(
        "name", "title", [Contestant("cat", ["cat"], "cat"), Contestant("own", ckptkit("inspect"), "cat")]
    )
    assert [(entry.name, entry.may_fail) for entry in beside(contest, "/old/ckptkit").contestants] == [
        ("cat", False),
        ("own", False),
        ("own (the other version)", True),
    ]
    assert list(beside(contest, "/old/ckptkit").contestants[-1].command) == ["/old/ckptkit", "inspect"]
