"""``make fuzz``: every reader of untrusted bytes under a coverage-guided fuzzer, and commands on mutated folders.

Exit code 1 if any input brought a foreign exception, a hang, a verdict that the official library does not share, or a
changed folder; the input is then named. ``--keep`` minimises what was found into ``fixtures/hostile/corpus``, and
``--record FILE`` keeps the figures for docs/robustness.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.folders import PATIENCE
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "fuzz"
#: How the inputs of a run are dealt: what costs much to judge gets fewer.
SHARES = {"header": 0.56, "index": 0.27, "toml": 0.15, "card": 0.01, "config": 0.0075, "folders": 0.0025}


def main() -> int:
    """Fuzz, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the mutated folders")
    parser.add_argument("--keep", action="store_true", help="minimise what was found into the corpus")
    parser.add_argument("--record", type=Path, help="where to keep the figures")
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    for name, share in SHARES.items():
        count = round(options.inputs * share)
        figures[name] = folders(count, options.seed) if name == "folders" else guided(name, count)
        print(f"  {name}: " + ", ".join(f"{what} {value}" for what, value in figures[name].items()), flush=True)
        if options.keep and name in TARGETS:
            found = [path.read_bytes() for path in (WORK / name).iterdir()]
            corpus.save(name, corpus.minimised(name, found))
            figures[name]["kept"] = len(corpus.load(name))
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"Linux {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} CPUs",
        "atheris": version("atheris"),
        "patience": PATIENCE,
        "targets": figures,
    }
    wrong = sum(figure["wrong"] for figure in figures.values())
    print(f"{sum(figure['inputs'] for figure in figures.values()):,} inputs; wrong: {wrong}")
    if options.record:
        options.record.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def guided(name: str, count: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own, beginning with what is kept."""
    place = WORK / name
    place.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*TARGETS[name].seeds(), *(kept.data for kept in corpus.load(name))]):
        (place / f"seed-{number}").write_bytes(data)
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(count), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=ROOT)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    wrong = int(done.returncode != 0)
    if wrong:
        print(f"  {name}: {done.stdout[-3000:]}{done.stderr[-3000:]}", flush=True)
    return {
        "inputs": int(stats.get("number_of_executed_units", 0)),
        "new": int(stats.get("new_units_added", 0)),
        "slowest_seconds": int(stats.get("slowest_unit_time_sec", 0)),
        "peak_mb": int(stats.get("peak_rss_mb", 0)),
        "wrong": wrong,
    }


def folders(count: int, seed: int) -> dict[str, Any]:
    """Commands on mutated folders."""
    command = [sys.executable, "-m", "tests.fuzz.folders", str(count), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    sys.exit(main())
