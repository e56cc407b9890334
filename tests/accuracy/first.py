"""What was said of held-out checkpoints before any engine had loaded one: written once, and never taken anew.

Rules and the engines' data may be mended on what engines then did; these verdicts stay, and say how often one is right
on a checkpoint that nobody has seen.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from tests.accuracy.corpus import corpus
from tests.accuracy.measure import distinct
from tests.accuracy.records import records
from tests.accuracy.verdicts import rows, said

FIRST = Path(__file__).with_name("held") / "first.json"
#: The releases that are said what they do, by engine and version.
ASKED = ("sglang-0.5.23", "transformers-5.16.1", "vllm-0.32.0")


def take() -> None:
    """Judge every held-out checkpoint that was not yet judged, and keep it with the day."""
    known: dict[str, list[object]] = json.loads(FIRST.read_text(encoding="utf-8")) if FIRST.exists() else {}
    asked = [record for record in records() if f"{record.engine}-{record.version}" in ASKED]
    today = date.today().isoformat()
    for entry, files, code in distinct(corpus().values()):
        if entry.kind == "held" and entry.id not in known:
            newest = {name: row.verdict for name, row in rows(files).items()}
            verdicts = {f"{record.engine}-{record.version}": said(files, record, newest) for record in asked}
            known[entry.id] = [code, today, verdicts]
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(known.items())]
    FIRST.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
