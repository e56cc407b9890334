"""How many small changes to the code do tests notice? ``make mutation MINUTES=20`` tries a random sample of them.

mutmut makes the changes (``[tool.mutmut]`` in pyproject.toml says where) and knows which tests meet which function. It
changes the bodies of functions and methods; decorated functions, such as properties, and tables stay as they are. A
sample is as large as the minutes allow, and comes from a seed, so that it can be had again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
#: A small module: trying its mutants makes those of all others, and times the tests.
FIRST = "ckptkit.operations.operation.*"
#: The share of a mutant's tests that run until one fails, on the average of killed and surviving ones.
SHARE, START_UP = 0.3, 3.0
GOAL = 90.0
#: mutmut's exit codes of a mutant's tests.
SURVIVED, UNTESTED, UNTRIED = (0,), (5, 33), (None, 2)


def main() -> int:
    """Make mutants, try a sample, print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to try mutants; making them comes on top")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    mutmut(FIRST, jobs=arguments.jobs)
    seconds = 60 * arguments.minutes
    chosen = sample(seconds * arguments.jobs, random.Random(arguments.seed))
    print(f"trying {len(chosen)} of {len(results())} mutants for about {arguments.minutes:g} minutes", flush=True)
    # Before the first mutant all their tests run once; mutmut tries those with few tests first, so all should be tried.
    mutmut(*chosen, jobs=arguments.jobs, seconds=1.5 * seconds + 2 * whole())
    return report(chosen)


def mutmut(*names: str, jobs: int, seconds: float | None = None) -> None:
    """Try mutants by name, until the time is over. Without a time, a failure ends the program."""
    command = [str(MUTMUT), "run", "--max-children", str(jobs), *names]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # with the workers; what was found is on the disk
        said, _ = process.communicate()
    if process.returncode and seconds is None:
        sys.exit(f"mutmut failed:\n{said[-4000:]}")


def whole() -> float:
    """How long all tests take, in seconds."""
    stats = json.loads((WORK / "mutmut-stats.json").read_text(encoding="utf-8"))
    return float(sum(stats["duration_by_test"].values()))


def results() -> dict[str, int | None]:
    """The exit code of every mutant's tests; None for those that were not tried."""
    found: dict[str, int | None] = {}
    for path in sorted(WORK.rglob("*.py.meta")):
        found.update(json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"])
    return found


def sample(seconds: float, chance: random.Random) -> list[str]:
    """Mutants in random order, as many as can be tried in the time."""
    stats = json.loads((WORK / "mutmut-stats.json").read_text(encoding="utf-8"))
    durations: Mapping[str, float] = stats["duration_by_test"]
    tests: Mapping[str, list[str]] = stats["tests_by_mangled_function_name"]
    costs = {function: START_UP + SHARE * sum(durations[name] for name in names) for function, names in tests.items()}
    mutants = sorted(results())
    chance.shuffle(mutants)
    chosen: list[str] = []
    for mutant in mutants:
        seconds -= costs.get(mutant.rpartition("__mutmut_")[0], 0.0)
        if seconds < 0:
            break
        chosen.append(mutant)
    return chosen


def report(chosen: list[str]) -> int:
    """Print what became of the mutants that were chosen; 0 if the goal is met."""
    found = results()
    tried = {name: found[name] for name in chosen if found[name] not in UNTRIED}
    unnoticed = {name: code for name, code in tried.items() if code in (*SURVIVED, *UNTESTED)}
    for name, code in sorted(unnoticed.items()):
        print(f"  {'no test meets' if code in UNTESTED else 'unnoticed'}: {name}   (mutmut show {name})")
    rooms = Counter(".".join(name.split(".")[:2]) for name in tried)
    missed = Counter(".".join(name.split(".")[:2]) for name in unnoticed)
    for room, count in sorted(rooms.items()):
        print(f"  {room}: {count - missed[room]} of {count} noticed")
    score = 100 * (1 - len(unnoticed) / len(tried)) if tried else 0.0
    when = time.strftime("%d %B %Y")
    print(f"mutation score: {score:.1f} % of {len(tried)} mutants, {when} (goal: {GOAL:g} %)", end="")
    print(f"; {len(chosen) - len(tried)} were not reached" if len(tried) < len(chosen) else "")
    return 0 if score >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
