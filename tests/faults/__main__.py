"""``make faults``: every writing command, every write-side step, every fault. Exit code 1 if any verdict is wrong.

First the steps are counted and stopped by a shim over Python's calls, in this process: in every state that stops can
lead to, with every error, Ctrl-C, short writes. Then the kernel does it to real processes, by strace, where that is
here and allowed. ``--record FILE`` keeps the figures for docs/robustness.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.commands import COMMANDS
from tests.faults.traced import FAULTS, NO_EFFECT, Tally, Tracer, available

ROOT = Path(__file__).resolve().parents[2]
#: Each walk, and how far it goes here.
WALKS = {"walk_replace": [], "walk_fix": ["all"], "walk_small": [], "walk_convert": ["3"]}


def main() -> int:
    """Attack, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="of the traced steps, only every so manieth")
    parser.add_argument("--only", action="append", choices=[*COMMANDS, "shim"], help="only this command, or the shim")
    parser.add_argument("--record", type=Path, help="where to keep the figures")
    options = parser.parse_args()
    only: list[str] = options.only or ["shim", *COMMANDS]
    walks = {name: walked(name, arguments) for name, arguments in WALKS.items()} if "shim" in only else {}
    tallies = traced([name for name in only if name in COMMANDS], options.every) if available() else []
    if not available():
        print("strace is not here, or may not trace: nothing was done to real processes")
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"Linux {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} CPUs",
        "every": options.every,
        "walks": walks,
        "traced": [to_json(tally) for tally in tallies],
    }
    wrong = [what for tally in tallies for what in tally.wrong]
    shown = Counter({name: sum(counts.values()) for name, counts in walks.items()})
    print(f"by the shim: {sum(shown.values()):,} ({', '.join(f'{name} {count:,}' for name, count in shown.items())})")
    print(
        f"by strace: {sum(sum(tally.runs.values()) for tally in tallies):,} runs that took effect; wrong: {len(wrong)}"
    )
    if options.record:
        options.record.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def merged(file: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The figures with those that were kept before of what was not done now."""
    if not file.exists():
        return document
    before = json.loads(file.read_text(encoding="utf-8"))
    now = {entry["command"]: entry for entry in document["traced"]}
    kept = {entry["command"]: entry for entry in before["traced"]}
    traced = [{**kept, **now}[name] for name in COMMANDS if name in kept or name in now]
    return {**document, "walks": {**before["walks"], **document["walks"]}, "traced": traced}


def walked(name: str, arguments: list[str]) -> dict[str, int]:
    """What a walk counted. One that finds something ends this program with it."""
    command = [sys.executable, "-m", f"tests.faults.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    counted: dict[str, int] = json.loads(done.stdout)
    for what, count in counted.items():
        print(f"  {name}: {what}: {count:,}", flush=True)
    return counted


def traced(names: list[str], every: int) -> list[Tally]:
    """What the kernel's faults did to each command."""
    tallies = []
    with Tracer() as tracer:
        for name in names:
            tally = tracer.attack(COMMANDS[name], every=every)
            runs = ", ".join(f"{fault} {tally.runs[fault]}" for fault in FAULTS)
            states = ", ".join(f"{state} {count}" for state, count in sorted(tally.states.items()))
            print(f"  {name}: {tally.steps} steps; {runs}; left: {states}; wrong: {len(tally.wrong)}", flush=True)
            for what in tally.wrong:
                print(f"    {what}", flush=True)
            tallies.append(tally)
    return tallies


def to_json(tally: Tally) -> dict[str, Any]:
    """A command's figures."""
    missed = tally.states[NO_EFFECT]
    states = {state: count for state, count in sorted(tally.states.items()) if state != NO_EFFECT}
    wrong = len(tally.wrong)
    return {
        "command": tally.command,
        "steps": tally.steps,
        "runs": {fault: tally.runs[fault] for fault in FAULTS},
        "missed": missed,
        "left": states,
        "wrong": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
