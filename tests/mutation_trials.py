"""A pytest plugin that tries mutants instead of running tests: ``tests/mutation.py`` starts it inside ``mutants``.

Tests are collected once. Each mutant then gets a forked process, in which no test has run yet (what an earlier one
left in a cache would hide the change), and which runs only the tests that meet the mutant's function, those nearest
to it first, until one fails. A function that runs while modules are imported gets a new interpreter instead.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import _lru_cache_wrapper, cache
from pathlib import Path
from typing import Any, TextIO

import pytest

#: Set in a run of trials.
ENVIRONMENT = "CKPTKIT_MUTATION_TRIALS"
#: Where a request lies, and where each line of results goes.
REQUEST, RESULTS = Path("trials.json"), Path("trials.jsonl")
#: A test may take this many times as long as without a change, and these seconds more, or it has noticed the change.
SLOWER, GRACE = 10.0, 10.0
#: Memory that a change may ask for, in bytes: a loop that never ends must not take the machine with it.
MEMORY = 6 * 2**30
NOTICED, UNNOTICED, UNMET, TOO_LONG = "noticed", "unnoticed", "no test meets", "took too long"


@dataclass(frozen=True)
class Known:
    """What mutmut has found out: how long tests take, which meet a function, and what runs on import."""

    durations: Mapping[str, float]
    tests: Mapping[str, frozenset[str]]
    imported: frozenset[str]

    @classmethod
    def read(cls, imported: frozenset[str]) -> Known:
        stats = json.loads(Path("mutmut-stats.json").read_text(encoding="utf-8"))
        tests = {name: frozenset(found) for name, found in stats["tests_by_mangled_function_name"].items()}
        return cls(stats["duration_by_test"], tests, imported)

    def limit(self, item: pytest.Item) -> float:
        return SLOWER * self.durations.get(item.nodeid, 0.0) + GRACE


def activate(mutant: str) -> None:
    """Choose what changed functions do: "" for the original, "stats" to write calls down."""
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test(mutant)


def pytest_configure(config: pytest.Config) -> None:
    if trying():
        activate("stats")  # until all modules are imported, calls are written down


def pytest_runtest_setup(item: pytest.Item) -> None:
    """While mutmut writes down which tests meet a function, none may find its result in a cache."""
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        for cached in caches():
            cached.cache_clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not trying():
        return None
    from mutmut.state import state

    known = Known.read(frozenset(state()._stats))
    activate("")
    request = json.loads(REQUEST.read_text(encoding="utf-8"))
    with RESULTS.open("w", encoding="utf-8") as results:
        try_all(request["mutants"], request["seconds"], request["jobs"], session.items, known, results)
    return True


def trying() -> bool:
    """Whether this is a run of trials, not one of mutmut's own."""
    return ENVIRONMENT in os.environ


@cache
def caches() -> tuple[Any, ...]:
    """What ``functools.cache`` has wrapped, in the code that is changed and in the tests' helpers."""
    rooms = (
        "ckptkit.model",
        "ckptkit.storage",
        "ckptkit.formats",
        "ckptkit.conversion",
        "ckptkit.operations",
        "tests.",
    )
    modules = [module for name, module in sys.modules.items() if name.startswith(rooms)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)]
    return tuple(value for value in found if value is not caches)


def try_all(
    mutants: list[str], seconds: float, jobs: int, items: list[pytest.Item], known: Known, results: TextIO
) -> None:
    """Try mutants, some at once, until the time is over."""
    end = time.monotonic() + seconds
    running: dict[int, tuple[str, float]] = {}
    for mutant in mutants:
        while len(running) >= jobs:
            write(results, *ended(running))
        if time.monotonic() >= end:
            break
        chosen = nearest_first(mutant, items, known)
        if not chosen:
            write(results, mutant, UNMET, 0.0)
            continue
        pid = os.fork()
        if not pid:
            attempt(mutant, chosen, known)
        running[pid] = mutant, time.monotonic()
    while running:
        write(results, *ended(running))


def function_of(mutant: str) -> str:
    return mutant.rpartition("__mutmut_")[0]


def nearest_first(mutant: str, items: list[pytest.Item], known: Known) -> list[pytest.Item]:
    """The tests that meet a mutant: files of the same room first, then files that take less time."""
    wanted = known.tests.get(function_of(mutant), frozenset())
    files: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.nodeid in wanted:
            files[item.nodeid.partition("::")[0]].append(item)
    room = f"tests/{mutant.split('.')[1]}/"
    costs = {file: sum(known.durations.get(item.nodeid, 0.0) for item in found) for file, found in files.items()}
    order = sorted(files, key=lambda file: (not file.startswith(room), costs[file]))
    return [item for file in order for item in files[file]]


def attempt(mutant: str, items: list[pytest.Item], known: Known) -> None:
    """In a process of its own: run tests until one fails. Ends the process with 1 if one did."""
    os.setsid()
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 2
    try:
        if function_of(mutant) in known.imported:
            code = anew(mutant, items, known)
        else:
            activate(mutant)
            code = first_failure(items, known)
    finally:
        os._exit(code)


def first_failure(items: list[pytest.Item], known: Known) -> int:
    session = items[0].session
    for item, following in zip(items, [*items[1:], None], strict=True):
        signal.setitimer(signal.ITIMER_REAL, known.limit(item))
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def anew(mutant: str, items: list[pytest.Item], known: Known) -> int:
    """Run tests in a new interpreter, which imports the changed module."""
    files = list(dict.fromkeys(item.nodeid.partition("::")[0] for item in items))
    signal.setitimer(signal.ITIMER_REAL, GRACE * 6 + sum(known.limit(item) - GRACE for item in items))
    options = [str(option) for option in items[0].config.invocation_params.args if str(option).startswith("-")]
    environment = {name: value for name, value in os.environ.items() if name != ENVIRONMENT}
    command = [sys.executable, "-m", "pytest", "-x", *options, *files]
    ended = subprocess.run(command, env={**environment, "MUTANT_UNDER_TEST": mutant}, check=False)
    return 1 if ended.returncode else 0


def ended(running: dict[int, tuple[str, float]]) -> tuple[str, str, float]:
    """Wait for a mutant's process: the mutant, what became of it, and the seconds that it took."""
    pid, status = os.wait()
    mutant, since = running.pop(pid)
    with suppress(ProcessLookupError):  # what its tests had started
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    outcome = {0: UNNOTICED, -signal.SIGALRM: TOO_LONG}.get(code, NOTICED)
    return mutant, outcome, time.monotonic() - since


def write(results: TextIO, mutant: str, outcome: str, seconds: float) -> None:
    line = {"mutant": mutant, "outcome": outcome, "seconds": round(seconds, 2)}
    print(json.dumps(line), file=results, flush=True)
