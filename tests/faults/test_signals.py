"""Interrupting a real process while it copies: what it leaves behind, and what the next run does about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ckptkit
from tests.faults.snapshot import snapshot

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real" / "llama"
SOURCE = REAL / "quark-ptpc-sharded"
SLOW = Path(__file__).with_name("slow.py")
PATIENCE = 20.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Start = Callable[..., "subprocess.Popen[str]"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def _heed_signals() -> None:
    """Undo what a child inherits from nohup, or from a shell that runs this suite in the background."""
    for signum in INTERRUPTS:
        signal.signal(signum, signal.SIG_DFL)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, work: Path) -> Iterator[Start]:
    """Start a slow conversion to ``work/out`` and come back when it is in the middle of copying."""
    processes: list[subprocess.Popen[str]] = []

    def begin(jobs: int = 1) -> subprocess.Popen[str]:
        flag = tmp_path / f"moving-{len(processes)}"
        command = [sys.executable, str(SLOW), str(flag), "convert", "quark→ct", str(SOURCE), str(work / "out")]
        process = subprocess.Popen(
            [*command, "-j", str(jobs)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_signals,
        )
        processes.append(process)
        wait_for(lambda: flag.exists() or process.poll() is not None)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def staged(work: Path) -> list[Path]:
    return [path for path in work.iterdir() if ".ckptkit-staging-" in path.name]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("signum", INTERRUPTS)
def test_an_interrupt_leaves_nothing(signum: int, jobs: int, start: Start, work: Path) -> None:
    process = start(jobs)
    assert len(staged(work)) == 1
    assert not (work / "out").exists()
    process.send_signal(signum)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said.strip()) == (130, "interrupted; no unfinished file was left behind")
    assert list(work.iterdir()) == []


def test_impatience_leaves_nothing_either(start: Start, work: Path) -> None:
    process = start(2)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(signum)
        time.sleep(0.01)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert list(work.iterdir()) == []


def test_the_next_run_cleans_up_after_a_kill(start: Start, work: Path) -> None:
    process = start(2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    (left_over,) = staged(work)
    assert any(left_over.iterdir())
    assert not (work / "out").exists()
    ckptkit.convert(SOURCE, work / "out", to="ct")
    assert [path.name for path in work.iterdir()] == ["out"]
    assert ckptkit.diff(SOURCE, work / "out").same


def test_a_refusal_does_not_clean_up(start: Start, work: Path) -> None:
    process = start()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    (work / "out").write_text("taken")
    before = snapshot(work)
    with pytest.raises(ckptkit.CkptkitError):
        ckptkit.convert(SOURCE, work / "out", to="ct")
    assert snapshot(work) == before


def test_two_runs_for_one_destination(start: Start, work: Path) -> None:
    """The second neither removes the first's folder nor waits for it; the first then finds its place taken."""
    process = start()
    (theirs,) = staged(work)
    os.kill(process.pid, signal.SIGSTOP)
    ckptkit.convert(SOURCE, work / "out", to="ct")
    assert theirs.exists()
    before = snapshot(work / "out")
    os.kill(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "was created by somebody else meanwhile" in said
    assert [path.name for path in work.iterdir()] == ["out"]
    assert snapshot(work / "out") == before
