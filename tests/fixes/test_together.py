"""Several damages at once: whatever fixes do together, what is judged in memory is what is written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks.finding import Severity
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Level
from ckptkit.validation import write_fixes
from tests.damage import load, tensors_of
from tests.fixes.test_each import CASES, Case, weights

BY_FIXTURE: dict[str, list[Case]] = {}
for _case in CASES:
    BY_FIXTURE.setdefault(_case.fixture, []).append(_case)
MIXABLE = sorted(fixture for fixture, cases in BY_FIXTURE.items() if len(cases) > 2)


@pytest.mark.parametrize("fixture", MIXABLE)
@pytest.mark.parametrize("seed", range(8))
def test_any_mixture(fixture: str, seed: int, tmp_path: Path) -> None:
    chance = random.Random(f"{fixture} {seed}")
    checkpoint = load(fixture)
    made = []
    for case in chance.sample(BY_FIXTURE[fixture], chance.randint(2, min(4, len(BY_FIXTURE[fixture])))):
        try:
            case.damage(checkpoint)
            made.append(f"{case.code} {case.name}")
        except (AssertionError, KeyError, TypeError, ValueError, StopIteration):
            continue  # another damage has taken away what this one needs
    damaged = checkpoint.everything()
    source = checkpoint.write(tmp_path / "damaged")
    result = find_fixes(api.open_files(source), Level.SCALES, unsafe=True)
    write_fixes(result, source, tmp_path / "fixed")

    assert api.validate(tmp_path / "fixed").findings == result.after.findings, made
    assert weights(tensors_of(tmp_path / "fixed")) == weights(damaged), made
    before, after = (
        sum(finding.severity is not Severity.INFO for finding in report.findings)
        for report in (result.before, result.after)
    )
    assert after < before or not result.applied or before == 0, made
    again = find_fixes(api.open_files(tmp_path / "fixed"), Level.SCALES, unsafe=True)
    assert again.applied == (), "nothing is left that can be fixed"
