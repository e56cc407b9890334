"""The page robustness.md: what the recorded runs of ``make faults``, ``make fuzz`` and the scale command counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "measured"
sys.path.insert(0, str(HERE.parent))

_INTRODUCTION = """\
# Robustness

Written by `make docs` from what these commands have recorded in `docs/measured`; each figure has the date of its run.
[SECURITY.md](../SECURITY.md) says which promise is held by which test.

| command | what it does |
|---|---|
| `make faults` | every writing command, every write-side step: killed, interrupted, failing, writing by halves |
| `make fuzz` | every reader of untrusted bytes under a coverage-guided fuzzer; commands on mutated folders |
| `python -m benchmarks.scale` | the largest checkpoints: time, memory, bytes that are read |

`RECORD=docs/measured/faults.json make faults`, `INPUTS=200000 KEEP=1 RECORD=docs/measured/fuzz.json make fuzz` and
`python -m benchmarks.scale --record docs/measured/scale.json` make the figures anew. `make test` does a part of each
in seconds, and asks no clock.

"""
_WALKS = {
    "walk_replace": "files of a folder replaced, from every state that stops can lead to",
    "walk_fix": "`--fix` in place",
    "walk_small": "git hook, `hf` manifest, card",
    "walk_convert": "conversions that copy and that compute, `--fix` to a copy",
}


def render() -> str:
    """The page."""
    peers = (MEASURED / "peers.md").read_text(encoding="utf-8")
    return _INTRODUCTION + "\n".join([*_faults(), *_fuzz(), *_hub(), *_scale()]) + "\n" + peers


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((MEASURED / name).read_text(encoding="utf-8"))
    return document


def _faults() -> Iterator[str]:
    document = _read("faults.json")
    yield f"## Faults\n\nRun on {document['date']}: {document['machine']}.\n"
    yield "A shim over Python's own calls, in one process. After a stop no call has any effect.\n"
    yield "| work | stopped | failing | interrupted | states |\n|---|---|---|---|---|"
    for name, counts in document["walks"].items():
        sums = {
            what: sum(count for key, count in counts.items() if key.split(": ")[-1] in keys)
            for what, keys in (
                ("stopped", ("stopped", "failed and stopped")),
                ("failed", ("failed",)),
                ("interrupted", ("interrupted",)),
                ("states", ("states",)),
            )
        }
        yield f"| {_WALKS[name]} | " + " | ".join(f"{count:,}" if count else "" for count in sums.values()) + " |"
    yield "\nEach state that is left was checked: old, new, or refused by every reader until the next run; that run"
    yield "does its work, and leaves nothing beside.\n"
    traced = document["traced"]
    kinds = list(traced[0]["runs"])
    runs, wrong = sum(sum(entry["runs"].values()) for entry in traced), sum(entry["wrong"] for entry in traced)
    yield f"Faults by the kernel, by strace: {runs:,} runs of real processes, {wrong} wrong verdicts.\n"
    yield f"| command | steps | {' | '.join(kinds)} | left behind |\n|---|---|{'---|' * len(kinds)}---|"
    for entry in traced:
        left = ", ".join(f"{state} {count}" for state, count in entry["left"].items())
        counts = " | ".join(str(entry["runs"][kind]) for kind in kinds)
        yield f"| {entry['command']} | {entry['steps']} | {counts} | {left} |"
    yield "\n*Something left* is what a kill leaves beside; the next run removes it. *Between, sound* is a checkpoint"
    yield "that is refused as half changed until the next `--fix`, a hook that is kept under two names, or a cache with"
    yield "fewer files, each of them whole. `upload` has no write-side step of its own.\n"


def _fuzz() -> Iterator[str]:
    document = _read("fuzz.json")
    targets = document["targets"]
    total, wrong = (sum(figure[key] for figure in targets.values()) for key in ("inputs", "wrong"))
    yield f"## Fuzzing\n\nRun on {document['date']}: {document['machine']}, atheris {document['atheris']}.\n"
    yield f"{total:,} inputs, {wrong} of them with a foreign exception, a hang over {document['patience']} s, another"
    yield "verdict than the official library's, or a changed folder.\n"
    yield "| target | inputs | that reached new code | kept | slowest | peak memory |\n|---|---|---|---|---|---|"
    for name, figure in targets.items():
        if name != "folders":
            slow = f"{figure['slowest_seconds']} s" if figure["slowest_seconds"] else "under 1 s"
            counts = f"{figure['inputs']:,} | {figure['new']} | {figure['kept']}"
            yield f"| {name} | {counts} | {slow} | {figure['peak_mb']} MB |"
    folders = targets["folders"]
    yield f"\nMutated folders: {folders['inputs']:,}, with {folders['commands']:,} commands. Kept inputs lie in"
    yield "`fixtures/hostile/corpus`, each with its verdict, and are replayed by `make test`.\n"


def _hub() -> Iterator[str]:
    from tests.hub.hostile import HARM

    total = sum(map(len, HARM.values()))
    yield "## A hostile Hub\n"
    counts = ", ".join(f"{kind} {len(harm)}" for kind, harm in HARM.items())
    yield f"{total} behaviours, one test each: {counts}. Each ends in one error of ours, in bounded time, with the"
    yield "token where it belongs.\n"


def _scale() -> Iterator[str]:
    document = _read("scale.json")
    machine = document["machine"]
    yield f"## Scale\n\nRun on {document['date']}: {machine['cores']} cores, Python {machine['python']}, load average"
    yield f"{' to '.join(map(str, document['load']))}. Seconds of work are those of the process itself.\n"
    yield "| checkpoint | command | of work | peak memory | read |\n|---|---|---|---|---|"
    for name, costs in document["checkpoints"].items():
        for what, cost in costs.items():
            peak, read = f"{cost['peak'] >> 20:,} MiB", f"{cost['read'] / 1e6:,.1f} MB"
            yield f"| {name} | {what} | {cost['cpu']:.1f} s | {peak} | {read} |"
    yield ""
