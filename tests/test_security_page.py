"""Every promise of SECURITY.md names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMISES = (ROOT / "SECURITY.md").read_text("utf-8").partition("\n## What is promised\n")[2].partition("\n## ")[0]
ROWS = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]


def test_every_promise_is_held_by_tests_that_exist() -> None:
    assert len(ROWS) >= 18
    for row in ROWS:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row.rpartition("|")[0])
        assert files, row
        for file in files:
            assert re.search(r"^def test_", (ROOT / file).read_text("utf-8"), re.MULTILINE), file
