"""Every write-side step of a piece of work, stopped or failing in turn: a shim over the calls that change a disk.

A stop is what it is in life: after it no call has any effect any more, so that neither handlers nor clean-ups do
anything; what the process held, its locks above all, is given back. What a run left is described by an abstract state,
and from every state that has not been seen the work is started again and stopped at each of its steps, until no new
state turns up. What then holds in all states holds after any number of interruptions.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptkit.errors import CkptkitError

#: What the shim counts: calls of ``os`` that change something on a disk.
CALLS = (
    *("mkdir", "rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "chmod", "fchmod", "utime"),
    *("open", "write", "pwrite", "ftruncate", "truncate", "fsync", "fdatasync", "copy_file_range", "sendfile"),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: In memory where that is possible: what is asked is the order of steps, and a disk takes its time to sync.
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: How a run ended: done; with an error; by Ctrl-C; stopped; it has fewer steps than that.
DONE, REFUSED, INTERRUPTED, STOPPED, NEVER = "done", "refused", "interrupted", "stopped", "never"
#: Calls that may do less than they are asked for, and where in their arguments it says how much.
_MOVES = {"write": 1, "pwrite": 1, "copy_file_range": 2, "sendfile": 3}


class StoppedError(BaseException):
    """The process is no more. Nothing may catch it."""


@dataclass
class Shim:
    """Counts steps; stops the process before step ``stop``, and lets step ``fail`` fail with ``error``, an errno.

    Before each of the steps ``interrupts`` the user presses Ctrl-C. With ``short``, no call writes more than half of
    what it is asked for.
    """

    stop: int = 0
    fail: int = 0
    error: int = errno.EIO
    interrupts: tuple[int, ...] = ()
    short: bool = False
    steps: list[str] = field(default_factory=list)
    stopped: bool = False

    @contextmanager
    def installed(self) -> Iterator[Shim]:
        real = {name: getattr(os, name) for name in (*CALLS, "scandir")}
        try:
            for name in CALLS:
                setattr(os, name, self._counting(name, real[name]))
            os.scandir = lambda *arguments: _Listing(real["scandir"], *arguments)  # type: ignore[assignment,misc]
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def note(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A step is about to be taken: whoever wants to know more of it than its name looks here."""

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (arguments[1] if len(arguments) > 1 else options.get("flags", 0)) & _WRITING:
                return function(*arguments, **options)
            if self.stopped:
                raise StoppedError
            self.steps.append(f"{name} {_shown(arguments)}")
            self.note(name, arguments, options)
            if len(self.steps) == self.stop:
                self.stopped = True
                raise StoppedError
            if len(self.steps) == self.fail:
                raise OSError(self.error, os.strerror(self.error))
            if len(self.steps) in self.interrupts:
                raise KeyboardInterrupt
            if self.short and name in _MOVES:
                arguments = _halved(arguments, _MOVES[name])
            return function(*arguments, **options)

        return call


class _Listing:
    """A folder in an order that repeats, with hidden names last: a clean-up that relies on luck has none."""

    def __init__(self, scandir: Callable[..., Any], *arguments: Any) -> None:
        with scandir(*arguments) as found:
            self._entries = iter(sorted(found, key=lambda entry: str(entry.name), reverse=True))

    def __enter__(self) -> _Listing:
        return self

    def __exit__(self, *arguments: object) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def close(self) -> None:
        """Nothing is open."""


def _halved(arguments: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    """The same arguments with half of the data, or half of the count, and one byte at least."""
    given = arguments[place]
    half = max(1, given // 2) if isinstance(given, int) else given[: max(1, len(given) // 2)]
    return (*arguments[:place], half, *arguments[place + 1 :])


def _shown(arguments: tuple[Any, ...]) -> str:
    return " ".join(os.path.basename(os.fspath(a)) for a in arguments if isinstance(a, (str, os.PathLike)))


def steps_of(work: Callable[[], object]) -> list[str]:
    """The steps of a piece of work that is done to its end, in this process."""
    with Shim().installed() as shim:
        work()
    return shim.steps


def run(
    work: Callable[[], object],
    stop: int = 0,
    fail: int = 0,
    error: int = errno.EIO,
    interrupts: tuple[int, ...] = (),
) -> str:
    """Do the work, stopped or failing at a step; how it ended: DONE, REFUSED after an error, STOPPED or NEVER."""
    shim, status = Shim(stop, fail, error, interrupts), DONE
    try:
        with shim.installed():
            work()
    except (CkptkitError, OSError):
        status = REFUSED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except StoppedError:
        return STOPPED
    if shim.stopped:
        raise RuntimeError("a stop was caught")
    return NEVER if max(stop, fail, *interrupts[:1]) > len(shim.steps) else status


@dataclass(frozen=True)
class Walk:
    """What was walked: runs that were stopped, and the abstract states, each with the stops that led there."""

    stopped: int
    states: dict[str, tuple[int, ...]]


def walk(
    prepare: Callable[[Path], Callable[[], object]],
    describe: Callable[[Path], str],
    *checks: Callable[[Path], None],
) -> Walk:
    """Stop the work at every step, in every state that can be reached by stops, and check each of these states.

    ``prepare`` makes a fresh situation in a folder and gives the work; ``describe`` says what state it is in, without
    what differs from run to run; each of the ``checks`` raises AssertionError, and may change the folder.
    """
    stopped = 0
    states: dict[str, tuple[int, ...]] = {}
    pending: list[tuple[int, ...]] = [()]
    while pending:
        path = pending.pop(0)
        for at in range(1, 1000):
            stops = (*path, at)
            with _stopped(prepare, stops) as folder:
                if folder is None:
                    break
                stopped += 1
                state = describe(folder)
            if state in states:
                continue
            states[state] = stops
            pending.append(stops)
            for check in checks:
                with _stopped(prepare, stops) as folder:
                    try:
                        check(folder) if folder else None
                    except AssertionError as error:
                        sys.exit(f"after stops at {stops}, in state {state}: {error}")
    return Walk(stopped, states)


@contextmanager
def _stopped(prepare: Callable[[Path], Callable[[], object]], stops: tuple[int, ...]) -> Iterator[Path | None]:
    """A fresh situation after these stops, one run each; None if the last run has fewer steps than that."""
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        folder = Path(place)
        work = prepare(folder)
        statuses = [run(work, at) for at in stops]
        yield folder if statuses[-1] == STOPPED else None


#: The failures of disks that are tried, by name.
FAILURES = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EPERM")}


def fail_everywhere(
    prepare: Callable[[Path], Callable[[], object]], check: Callable[[Path, bool], None], failures: dict[str, int]
) -> int:
    """Let every step fail in every way; ``check`` is told whether the work says that it is done. How many failed."""
    tried = 0
    for name, number in failures.items():
        for at in range(1, 1000):
            with tempfile.TemporaryDirectory(dir=FAST) as place:
                folder = Path(place)
                status = run(prepare(folder), fail=at, error=number)
                if status == NEVER:
                    break
                tried += 1
                try:
                    check(folder, status == DONE)
                except AssertionError as error:
                    sys.exit(f"{name} at step {at}: {error}")
    return tried


def interrupt_everywhere(
    prepare: Callable[[Path], Callable[[], object]], check: Callable[[Path, bool], None], reach: int
) -> int:
    """Press Ctrl-C before every step, alone and again before one of the next ``reach``. How many were interrupted."""
    tried = 0
    for at in range(1, 1000):
        for again in range(reach + 1):
            with tempfile.TemporaryDirectory(dir=FAST) as place:
                folder = Path(place)
                status = run(prepare(folder), interrupts=(at, at + again) if again else (at,))
                if status == NEVER:
                    return tried
                tried += 1
                try:
                    check(folder, status == DONE)
                except AssertionError as error:
                    sys.exit(f"interrupted at step {at} and {again} later: {error}")
    return tried


def halved(prepare: Callable[[Path], Callable[[], object]], check: Callable[[Path], None]) -> int:
    """Let no call write more than half of what it is asked for, and check the result. How many steps that took."""
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        folder = Path(place)
        with Shim(short=True).installed() as shim:
            prepare(folder)()
        try:
            check(folder)
        except AssertionError as error:
            sys.exit(f"with short writes: {error}")
    return len(shim.steps)


def fail_and_stop(prepare: Callable[[Path], Callable[[], object]], *checks: Callable[[Path], None]) -> int:
    """Let every step fail, and stop the process at each step of what it does about that. How many were stopped."""
    stopped, fail = 0, 1
    while _status(prepare, 0, fail) != NEVER:
        stop = fail + 1
        while _status(prepare, stop, fail, *checks) != NEVER:
            stopped += 1
            stop += 1
        fail += 1
    return stopped


def _status(
    prepare: Callable[[Path], Callable[[], object]], stop: int, fail: int, *checks: Callable[[Path], None]
) -> str:
    """How a run ends that fails at one step and is stopped at another; each check gets a run of its own."""
    status = NEVER
    for check in checks or (None,):
        with tempfile.TemporaryDirectory(dir=FAST) as place:
            folder = Path(place)
            status = run(prepare(folder), stop, fail)
            try:
                check(folder) if check is not None and status != NEVER else None
            except AssertionError as error:
                sys.exit(f"failed at step {fail}, stopped at step {stop}: {error}")
    return status
