"""What was said of held-out checkpoints before any engine had loaded one: written once, and never taken anew.

Rules and the engines' data may be mended on what engines then did; these verdicts stay, and say how often one is right
on a checkpoint that nobody has seen.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from tests.accuracy.corpus import corpus
from tests.accuracy.measure import distinct
from tests.accuracy.records import records
from tests.accuracy.verdicts import rows, said

FIRST = Path(__file__).with_name("held") / "first.json"
#: The releases that are said what they do, by engine and version.
ASKED = ("sglang-0.5.23", "transformers-5.16.1", "vllm-0.32.0")


def take() -> None:
    """Judge every held-out checkpoint that was not yet judged, and keep it with the day; and keep what engines did with
    those that they have loaded since, the first time."""
    known: dict[str, Any] = json.loads(FIRST.read_text(encoding="utf-8")) if FIRST.exists() else {}
    asked = {f"{r.engine}-{r.version}": r for r in records() if f"{r.engine}-{r.version}" in ASKED}
    today = date.today().isoformat()
    for entry, files, code in distinct(corpus().values()):
        if entry.kind != "held":
            continue
        if entry.id not in known:
            newest = {name: row.verdict for name, row in rows(files).items()}
            verdicts = {release: said(files, record, newest) for release, record in asked.items()}
            known[entry.id] = [code, today, verdicts, {}]
        for release, record in asked.items():
            seen = record.loads.get(entry.id)
            if seen is not None and seen.digest == known[entry.id][0]:
                known[entry.id][3].setdefault(release, seen.outcome)
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(known.items())]
    FIRST.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
