"""Faults by the kernel: every write-side system call of a command, stopped or failing in turn, by strace.

A command is recorded once, and each of its calls that changes something on a disk is a step. Then it runs again for
every step and every fault: killed before the call, asked to stop (once, or twice in a row), or with an error instead
of the call. Afterwards the folder must be as it was, or as it will be, or sound in between as the command says; the
same command must then do its work, and leave nothing beside.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.faults.commands import Command, State, situation, state_of
from tests.faults.zygote import Zygote

#: Calls that can change a disk. Of ``open`` and ``openat`` those count that may write or make a file.
CALLS = (
    *("open", "openat", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink"),
    *("symlinkat", "unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat", "write", "pwrite64"),
    *("ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "copy_file_range", "sendfile", "sync_file_range"),
)
#: Standard output and error, which may well speak of the folder.
_SHOWN = ("1<", "2<")
_REMOVING = ("unlink", "unlinkat", "rmdir")
_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)", re.DOTALL)
_TOOK_EFFECT = re.compile(r"\(INJECTED\)$|--- SIG(INT|TERM) |\+\+\+ killed by SIGKILL")
ERRORS = ("EIO", "ENOSPC", "EPERM")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT twice")
FAULTS = (*SIGNALS, *ERRORS)
SECONDS = 300
#: The state after a run in which the call was another one, or was not reached.
NO_EFFECT = "no effect"


class Step(NamedTuple):
    """A call, the how-manieth of its name in its process, and what it was about."""

    call: str
    number: int
    about: str


class Ended(NamedTuple):
    """A run's exit code, negative for a signal, and what it said on standard error and on standard output."""

    code: int
    said: str
    shown: str


@dataclass(frozen=True)
class Tally:
    """What became of a command: how many steps it has, runs by fault, the states they left, what was wrong."""

    command: str
    steps: int
    runs: Counter[str]
    states: Counter[str]
    wrong: tuple[str, ...]


def available() -> bool:
    """Whether strace is here and may trace, which containers and hardened kernels forbid."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=rename:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=SECONDS).returncode == 0


class Tracer:
    """Runs commands, traced and undisturbed; use as a context manager."""

    def __init__(self) -> None:
        self._zygote = Zygote()
        self._known: dict[str, tuple[State, State, str]] = {}
        #: The last process that was traced.
        self.pid = 0

    def __enter__(self) -> Tracer:
        self._zygote.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._zygote.__exit__(*details)

    def run(self, command: Command, folder: Path, hub: str | None) -> Ended:
        """A run without faults."""
        return Ended(*self._zygote.run(command.words(folder), command.environment(folder, hub)))

    def undisturbed(self, command: Command) -> tuple[State, State, str]:
        """The state before a command and after it, and what it shows."""
        if command.name not in self._known:
            with situation(command) as (folder, hub):
                before, done = state_of(folder), self.run(command, folder, hub)
                if done.code:
                    raise RuntimeError(f"{command.name} does not work at all: {done.said}")
                self._known[command.name] = before, state_of(folder), done.shown
        return self._known[command.name]

    def traced(self, command: Command, folder: Path, hub: str | None, inject: Sequence[str]) -> tuple[Ended, list[str]]:
        """A run with faults, and its calls as strace writes them."""
        log = folder.parent / "trace"
        self.pid = self._zygote.start(command.words(folder), command.environment(folder, hub), wait=True)
        words = ["strace", "-f", "-qq", "-y", "-s", "400", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
        words += [word for fault in inject for word in ("-e", f"inject={fault}")]
        with subprocess.Popen([*words, "-p", str(self.pid)], stderr=subprocess.DEVNULL) as strace:
            self._wait_for_tracer(strace)
            self._zygote.go()
            done = Ended(*self._zygote.end())
            strace.wait(SECONDS)
        return done, log.read_text(errors="replace").splitlines()

    def _wait_for_tracer(self, strace: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS
        while "TracerPid:\t0\n" in Path(f"/proc/{self.pid}/status").read_text():
            if strace.poll() is not None or time.monotonic() > deadline:
                strace.kill()
                raise RuntimeError(f"strace does not attach: {strace.returncode}")
            time.sleep(0.001)
        time.sleep(0.005)  # between taking a process and stopping it there is a moment

    def steps_of(self, command: Command) -> list[Step]:
        """The write-side calls in the command's folder, in order, of its first process."""
        with situation(command) as (folder, hub):
            _, lines = self.traced(command, folder, hub, ())
            return list(_steps(lines, folder, self.pid))

    def attack(self, command: Command, faults: Sequence[str] = FAULTS, every: int = 1, first: int = 0) -> Tally:
        """Every ``every``-th step of a command, beginning with the ``first``, with every fault."""
        before, after, shown = self.undisturbed(command)
        steps = self.steps_of(command)
        runs: Counter[str] = Counter()
        states: Counter[str] = Counter()
        wrong: list[str] = []
        for at in range(first, len(steps), every):
            for fault in faults:
                state, faulty = self._tried(command, steps, at, fault, before, after, shown)
                runs[fault] += state != NO_EFFECT
                states[state] += 1
                wrong += [f"{command.name}: {fault} at {steps[at].call} {steps[at].about}: {what}" for what in faulty]
        return Tally(command.name, len(steps), runs, states, tuple(wrong))

    def _tried(
        self, command: Command, steps: list[Step], at: int, fault: str, before: State, after: State, shown: str
    ) -> tuple[str, list[str]]:
        """One run with a fault, and one without: the state that the fault left, and what is wrong with all that."""
        removed = [other for other in steps[at:] if other.call == "unlinkat"]
        with situation(command) as (folder, hub):
            inject = _injections(steps[at], fault, removed[0] if removed else None)
            done, lines = self.traced(command, folder, hub, inject)
            if not any(_TOOK_EFFECT.search(line) for line in lines):
                return NO_EFFECT, []
            state, wrong = _verdict(command, folder, done, before, after)
            if command.answers and done.code == 0 and done.shown != shown:
                wrong.append(f"exit code 0, and another answer: {done.shown[-300:]}")
            # A call of the same number may be one of git's, whose end the command then tells as an error.
            ours = any(_TOOK_EFFECT.search(line) and line.startswith(f"{self.pid} ") for line in lines)
            ended = (0, 2, 130, -signal.SIGINT, -signal.SIGTERM)
            expected = (-signal.SIGKILL,) if ours and fault == "SIGKILL" else ended
            if done.code not in expected:
                wrong.append(f"exit code {done.code}: {done.said[-300:]}")
            again = self.run(command, folder, hub)
            if state_of(folder) != after:
                wrong.append(f"the next run does not do its work, or leaves something: {again.said[-300:]}")
            if again.code and not state.startswith("new"):
                wrong.append(f"the next run ends with {again.code}: {again.said[-300:]}")
        return state, wrong


def _steps(lines: Iterable[str], folder: Path, first: int) -> Iterator[Step]:
    """The write-side calls of the ``first`` process: what it starts, git above all, only reads."""
    counts: Counter[str] = Counter()
    for line in lines:
        match = _LINE.match(line)
        if match is None or int(match["pid"]) != first:  # or the rest of a call, a signal
            continue
        call, rest = match["call"], match["rest"]
        counts[call] += 1
        there = str(folder) in rest and not (call == "write" and rest.startswith(_SHOWN))
        if there and (call not in ("open", "openat") or _WRITING.search(rest)):
            yield Step(call, counts[call], rest.replace(str(folder), "@")[:160])


def _injections(step: Step, fault: str, later: Step | None) -> list[str]:
    """What strace is told. A second SIGINT, and more, comes while the clean-up of the first removes files."""
    once = f"{step.call}:{{}}:when={step.number}"
    if fault in ERRORS:
        return [once.format(f"error={fault}")]
    if fault != "SIGINT twice":
        return [once.format(f"signal={fault}")]
    if step.call in _REMOVING:
        return [f"{step.call}:signal=SIGINT:when={step.number}+"]
    cleaning = f"unlinkat:signal=SIGINT:when={later.number if later else 1}+"
    return [once.format("signal=SIGINT"), cleaning]


def _verdict(command: Command, folder: Path, done: Ended, before: State, after: State) -> tuple[str, list[str]]:
    """Which state a run has left, and whether it says so."""
    wrong, found = [], state_of(folder)
    ours = {name: content for name, content in found.items() if name in before or name in after}
    left = ", something left" if ours != found else ""
    if ours == after:
        state = f"new{left}"
    elif ours == before:
        state = f"old{left}"
    elif command.between(folder):
        state = "between, sound"
    else:
        state = "neither"
        wrong.append(f"neither old nor new: {sorted(name for name in ours if ours[name] != before.get(name))}")
    if any(found.get(name) != content for name, content in before.items() if after.get(name) == content):
        wrong.append("what was to stay as it was is not")
    if done.code == 0 and not command.answers and not state.startswith("new"):
        wrong.append("exit code 0, and it is not done")
    if "Traceback" in done.said or "a defect of ckptkit" in done.said:
        wrong.append(f"not in our words: {done.said[-400:]}")
    if done.code == 2 and "error: " not in done.said:
        wrong.append(f"exit code 2 without a word: {done.said[-300:]}")
    return state, wrong
