"""How many small changes to the code do tests notice? ``make mutation MINUTES=20`` tries a random sample of them.

mutmut makes the changes (``[tool.mutmut]`` in pyproject.toml says where) and finds out which tests meet which function;
``tests/mutation_trials.py`` tries them. Bodies of functions and methods are changed; decorated functions, such as
properties, and tables stay as they are. A sample is as large as the minutes allow. Its order comes from a seed, so
that it can be had again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import mutation_trials as trials

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
#: One small mutant: to try it, mutmut makes all others, and finds out which tests meet them.
FIRST = "ckptkit.operations.operation.*"
GOAL = 90.0
#: What mutmut says while it works.
_SPINNER = re.compile(r".?\s*(Generating mutants|Running|Listing)[\w ]*$")


def main() -> int:
    """Make mutants, try a sample, print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to try mutants; making them comes on top")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose names begin so: ckptkit.storage.remote")
    parser.add_argument("--again", action="store_true", help="use the mutants of the last run")
    arguments = parser.parse_args()
    if not arguments.again:
        make(arguments.jobs)
    mutants = [mutant for mutant in everything() if mutant.startswith(arguments.only)]
    random.Random(arguments.seed).shuffle(mutants)
    print(f"trying {len(mutants)} mutants in random order, for {arguments.minutes:g} minutes", flush=True)
    return report(tried(mutants, 60 * arguments.minutes, arguments.jobs))


def make(jobs: int) -> None:
    """Write all mutants, and which tests meet them, into ``mutants``. A failure ends the program."""
    shutil.rmtree(WORK, ignore_errors=True)
    command = [str(MUTMUT), "run", "--max-children", str(jobs), FIRST]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    if ended.returncode:
        said = [line for line in ended.stdout.splitlines() if not _SPINNER.match(line)]
        sys.exit("\n".join(["mutmut failed:", *said[-60:]]))


def everything() -> list[str]:
    """The names of all mutants."""
    found: list[str] = []
    for path in sorted(WORK.rglob("*.py.meta")):
        found += json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def tried(mutants: list[str], seconds: float, jobs: int) -> dict[str, str]:
    """What became of each mutant, as far as the time allows."""
    request = {"mutants": mutants, "seconds": seconds, "jobs": jobs}
    (WORK / trials.REQUEST).write_text(json.dumps(request), encoding="utf-8")
    from mutmut.configuration import config

    os.chdir(ROOT)
    selection = (*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection)
    command = [sys.executable, "-m", "pytest", *selection]
    environment = {**os.environ, trials.ENVIRONMENT: "1"}
    ended = subprocess.run(
        command, cwd=WORK, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    lines = (WORK / trials.RESULTS).read_text(encoding="utf-8").splitlines() if not ended.returncode else []
    if not lines:
        sys.exit(f"no mutant could be tried:\n{(ended.stdout + ended.stderr)[-4000:]}")
    return {line["mutant"]: line["outcome"] for line in map(json.loads, lines)}


def report(outcomes: Mapping[str, str]) -> int:
    """Print what became of the mutants; 0 if the goal is met."""
    missed = {name: outcome for name, outcome in outcomes.items() if outcome in (trials.UNNOTICED, trials.UNMET)}
    for name, outcome in sorted(missed.items()):
        print(f"  {outcome}: {name}   (mutmut show {name})")
    rooms, misses = (Counter(".".join(name.split(".")[:2]) for name in names) for names in (outcomes, missed))
    for room, count in sorted(rooms.items()):
        print(f"  {room}: {count - misses[room]} of {count} noticed")
    score = 100 * (1 - len(missed) / len(outcomes))
    late = sum(outcome == trials.TOO_LONG for outcome in outcomes.values())
    when = time.strftime("%d %B %Y")
    print(f"mutation score: {score:.1f} % of {len(outcomes)} mutants ({late} by taking too long), {when}", end="")
    print(f" (goal: {GOAL:g} %)")
    return 0 if score >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
