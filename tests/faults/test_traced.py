"""A part of ``make faults`` that takes seconds: real processes that the kernel stops or fails, see traced.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.commands import COMMANDS
from tests.faults.traced import FAULTS, NO_EFFECT, Step, Tracer, _injections, available

#: Every so manieth step, so that each command has some runs and all together have few.
PART = {
    "convert": 19,
    "--fix in place": 19,
    "--fix to a copy": 31,
    "card": 3,
    "report": 2,
    "hook install": 4,
    "hook hf": 9,
    "validate hf://": 7,
}

pytestmark = pytest.mark.skipif(not available(), reason="strace is not here, or may not trace")


@pytest.fixture(scope="module")
def tracer() -> Iterator[Tracer]:
    with Tracer() as running:
        yield running


@pytest.mark.parametrize("name", list(PART))
def test_old_or_new_after_any_fault(name: str, tracer: Tracer) -> None:
    tally = tracer.attack(COMMANDS[name], faults=("SIGKILL", "SIGINT twice", "EIO"), every=PART[name], first=2)
    assert tally.wrong == () and tally.states["neither"] == 0
    assert sum(tally.runs.values()) >= 3 and tally.states[NO_EFFECT] <= 1


def test_a_conversion_has_all_the_steps_that_are_promised(tracer: Tracer) -> None:
    calls = [step.call for step in tracer.steps_of(COMMANDS["convert"])]
    assert calls[0] == "mkdir" and calls[-2:] == ["rename", "fsync"]
    assert calls.count("fsync") == calls.count("openat") - 1 + 2 and {"pwrite64", "copy_file_range"} <= set(calls)


def test_every_fault_is_asked_for_in_the_words_of_strace() -> None:
    asked = {fault: _injections(Step("rename", 3, ""), fault, None) for fault in FAULTS}
    assert asked["SIGKILL"] == ["rename:signal=SIGKILL:when=3"] and asked["EIO"] == ["rename:error=EIO:when=3"]
    assert len(asked["SIGINT twice"]) == 2
    assert _injections(Step("unlinkat", 1, ""), "SIGINT twice", None) == ["unlinkat:signal=SIGINT:when=1+"]
