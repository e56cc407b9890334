"""Which findings can be fixed: those for which a fix has edits, not those of a rule that has a fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import runner
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.offers import offers
from ckptkit.checks.registry import Level
from tests.damage import load

from .test_each import CASES, Case

QUARK = "llama/quark-ptpc"


def offered(folder: Path) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """By code: the findings, those that are offered to be fixed safely, and those that need a judgement call."""
    context = runner.read_context(api.open_files(folder))
    findings = runner.run(context, Level.SCALES).findings
    found = offers(context, findings)
    counts: tuple[dict[str, int], ...] = ({}, {}, {})
    for finding in findings:
        for position, counted in enumerate((True, found.get(finding) == "safe", found.get(finding) == "unsafe")):
            if counted:
                counts[position][finding.code] = counts[position].get(finding.code, 0) + 1
    return counts[0], counts[1], counts[2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name.replace(' ', '-')}")
def test_what_is_fixed_was_offered(case: Case, tmp_path: Path) -> None:
    checkpoint = load(case.fixture)
    case.damage(checkpoint)
    folder = checkpoint.write(tmp_path / "damaged")
    _, safe, unsafe = offered(folder)
    assert case.code in (unsafe if case.unsafe else safe)
    applied = {fix.code: fix.findings for fix in find_fixes(api.open_files(folder), Level.SCALES).applied}
    assert applied.items() <= safe.items()


def test_a_finding_that_its_fix_declines_is_not_offered(tmp_path: Path) -> None:
    """A scale beside a BF16 weight may go; one without any weight is a riddle."""
    checkpoint = load(QUARK)
    checkpoint.put("lm_head.weight_scale", "BF16", (32,), b"\0\x3d" * 32)
    checkpoint.put("model.nobody.weight_scale", "BF16", (32,), b"\0\x3d" * 32)
    found, safe, unsafe = offered(checkpoint.write(tmp_path / "damaged"))
    assert (found["CK202"], safe, unsafe["CK202"]) == (2, {}, 1)
