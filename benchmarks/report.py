"""Results as one JSON document, and that document as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.contests import Contest
from benchmarks.measure import Contestant


def contest_to_json(contest: Contest) -> dict[str, Any]:
    """Medians, ranges and every sample of a contest."""
    medians = {contestant.name: contestant.seconds for contestant in contest.contestants}
    entries = [_contestant_to_json(contestant, medians[contestant.against]) for contestant in contest.contestants]
    return {"name": contest.name, "title": contest.title, "contestants": entries}


def _contestant_to_json(contestant: Contestant, limit: float) -> dict[str, Any]:
    seconds = [sample.seconds for sample in contestant.samples]
    return {
        "name": contestant.name,
        "against": contestant.against,
        "ratio": round(contestant.seconds / limit, 3),
        "seconds": round(contestant.seconds, 4),
        "fastest": round(min(seconds), 4),
        "slowest": round(max(seconds), 4),
        "cpu_seconds": round(statistics.median(sample.cpu_seconds for sample in contestant.samples), 4),
        "peak_bytes": contestant.peak_bytes,
        "samples": [sample.to_json() for sample in contestant.samples],
    }


def as_markdown(document: dict[str, Any]) -> str:
    """A table for each contest, and where the figures come from."""
    machine, versions = document["machine"], document["versions"]
    counted = sorted({len(entry["samples"]) for contest in document["contests"] for entry in contest["contestants"]})
    rounds = " to ".join(map(str, dict.fromkeys((counted[0], counted[-1])))) + (
        " rounds" if counted[-1] > 1 else " round"
    )
    lines = [
        f"Measured on {document['date']}: {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, {machine['file_system']}, "
        f"Python {machine['python']}, {', '.join(f'{name} {version}' for name, version in versions.items())}; "
        f"{rounds}, load average {document['load']['least']:.1f} to {document['load']['most']:.1f}.",
    ]
    for contest in document["contests"]:
        lines += ["", f"### {contest['title']}", "", *_table(contest["contestants"])]
    return "\n".join(lines) + "\n"


def _table(contestants: Iterable[dict[str, Any]]) -> list[str]:
    lines = [
        "| what | seconds, median (range) | ratio | CPU seconds | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for entry in contestants:
        digits = 2 if entry["seconds"] >= 1 else 3
        span = f"{entry['seconds']:.{digits}f} ({entry['fastest']:.{digits}f}-{entry['slowest']:.{digits}f})"
        ratio = "1" if entry["name"] == entry["against"] else f"**{entry['ratio']:.2f}** x {entry['against']}"
        lines.append(
            f"| {entry['name']} | {span} | {ratio} | {entry['cpu_seconds']:.{digits}f} "
            f"| {entry['peak_bytes'] / 2**20:.0f} MiB |"
        )
    return lines
