"""Every rule fires where it should, and stays silent where it nearly should."""

from __future__ import annotations

import pytest

from ckptkit.checks.registry import all_rules
from tests.rules.case import Case, report
from tests.rules.cases import CASES


def _id(case: Case) -> str:
    return f"{case.code}-{case.base.rpartition('/')[2]}"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_fires(case: Case) -> None:
    assert case.new_codes(case.fires) == {case.code} | case.also


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_nothing_is_found_twice(case: Case) -> None:
    broken = case.before()
    case.fires(broken)
    findings = report(broken, case.level).findings
    assert len(set(findings)) == len(findings)


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_near_miss(case: Case) -> None:
    assert case.new_codes(case.near) == case.near_also


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_a_near_miss_is_a_change(case: Case) -> None:
    """The fixture as it is comes near nothing, and a case with it could not fail."""
    near = case.before()
    case.near(near)
    before, after = case.before().to_files(), near.to_files()
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_every_rule_has_a_case() -> None:
    assert {case.code for case in CASES} == {rule.code for rule in all_rules()}
