"""Every promise of SECURITY.md names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = [line for line in (ROOT / "SECURITY.md").read_text("utf-8").splitlines() if line.startswith("| ")][1:]


def test_every_promise_is_held_by_tests_that_exist() -> None:
    assert len(ROWS) >= 10
    for row in ROWS:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row.rpartition("|")[0])
        assert files, row
        for file in files:
            assert re.search(r"^def test_", (ROOT / file).read_text("utf-8"), re.MULTILINE), file
