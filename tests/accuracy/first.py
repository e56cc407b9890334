"""What was said of held-out checkpoints before any engine had loaded one: written once, and never taken anew.

Rules and the engines' data may be mended on what engines then did; these verdicts stay, and say how often one is right
on a checkpoint that nobody has seen. Each set has a file of its own.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from tests.accuracy.corpus import HELD_OUT, corpus
from tests.accuracy.measure import distinct
from tests.accuracy.records import records
from tests.accuracy.verdicts import rows, said

#: The releases that are said what they do, by set.
ASKED = {
    "held": ("sglang-0.5.23", "transformers-5.16.1", "vllm-0.32.0"),
    "again": ("sglang-0.5.23", "transformers-5.16.1", "vllm-0.32.0"),
    "reported": ("llamacpp-b11312", "sglang-0.5.23", "transformers-5.16.1", "vllm-0.32.0"),
    "crossed": (
        *("llamacpp-b11312", "sglang-0.5.23", "transformers-5.16.1", "transformers-5.17.0", "vllm-0.31.0"),
        "vllm-0.32.0",
    ),
}


def path_of(kind: str) -> Path:
    """The file of a set."""
    return Path(__file__).with_name(kind) / "first.json"


def take() -> None:
    """Judge every held-out checkpoint that was not yet judged, and keep it with the day; and keep what engines did with
    those that they have loaded since, the first time."""
    known = {
        kind: json.loads(path_of(kind).read_text(encoding="utf-8")) if path_of(kind).exists() else {}
        for kind in HELD_OUT
    }
    asked = {f"{r.engine}-{r.version}": r for r in records()}
    today = date.today().isoformat()
    for entry, files, code in distinct(corpus().values()):
        if entry.kind not in HELD_OUT:
            continue
        found: dict[str, Any] = known[entry.kind]
        releases = {release: asked[release] for release in ASKED[entry.kind]}
        if entry.id not in found:
            newest = {name: row.verdict for name, row in rows(files).items()}
            verdicts = {release: said(files, record, newest) for release, record in releases.items()}
            found[entry.id] = [code, today, verdicts, {}]
        for release, record in releases.items():
            seen = record.loads.get(entry.id)
            if seen is not None and seen.digest == found[entry.id][0]:
                found[entry.id][3].setdefault(release, seen.outcome)
    for kind, found in known.items():
        lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(found.items())]
        path_of(kind).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
