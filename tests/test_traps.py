"""The account of the 56 known traps of FP8 checkpoints.

A trap is something that a loader, an exporter or the person between them gets wrong without an error. Each has a
test of its number in ``tests/traps``.
"""

from __future__ import annotations

import re
from pathlib import Path


def test_every_trap_has_one_test() -> None:
    tested: list[int] = []
    for path in (Path(__file__).parent / "traps").glob("test_*.py"):
        for name in re.findall(r"^def (test_trap_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            tested += [int(number) for number in re.findall(r"(?<=_)\d\d(?=_)", name)]
    assert sorted(tested) == list(range(1, 57))
