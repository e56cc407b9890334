"""The account of the 56 known traps of FP8 checkpoints.

A trap is something that a loader, an exporter or the person between them gets wrong without an error. Each has a
test of its number in ``tests/traps``, or belongs to a format that ckptkit does not read yet.
"""

from __future__ import annotations

import re
from pathlib import Path

#: Traps of formats and loaders that ckptkit neither reads nor writes.
OTHER_FORMATS = {
    23: "ModelOpt in transformers: unscaled weights without an error",
    24: "fp8 in transformers: ignored layers match as prefixes and suffixes",
    25: "ModelOpt: ignore matches by substring",
    26: "ModelOpt FP8 cannot be dynamic",
    27: "ModelOpt FP8_PB_WO scales are 4-D",
    28: "ModelOpt clamps KV scales to 1.0 or more",
    50: "fbgemm_fp8 is deprecated and clamps activations",
}


def test_every_trap_is_accounted_for() -> None:
    tested: list[int] = []
    for path in (Path(__file__).parent / "traps").glob("test_*.py"):
        for name in re.findall(r"^def (test_trap_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            tested += [int(number) for number in re.findall(r"(?<=_)\d\d(?=_)", name)]
    assert len(tested) == len(set(tested))
    assert not OTHER_FORMATS.keys() & set(tested)
    assert OTHER_FORMATS.keys() | set(tested) == set(range(1, 57))
