"""The catalogue as a law: every rule is documented in one form, has its sources and effects, and keeps its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import registry
from ckptkit.checks.planned import PLANNED
from ckptkit.checks.registry import FAMILIES, Rule, all_rules, by_code, select
from ckptkit.engines.registry import engines, judged_codes
from ckptkit.engines.reproduced import in_words
from ckptkit.errors import UsageError
from ckptkit.views.catalogue import render_rules_markdown
from tests.rules.cases import CASES

RULES = all_rules()
ROOT = Path(ckptkit.__file__).parent
#: Kinds of faults that are no finding about a checkpoint: refusals of requests, and faults of writing.
NOT_FINDINGS = {"disk-full", "unknown-mode", "fused-kv-distinct"}
#: Rules about bookkeeping that no engine reads, or about the checkpoint's use.
WITHOUT_EFFECTS = {"CK110", "CK112", "CK117", "CK507", "CK508", "CK630", "CK802", "CK911"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_documentation_has_the_one_form(rule: Rule) -> None:
    paragraphs = rule.documentation.split("\n\n")
    starts = [paragraph.split(":")[0] for paragraph in paragraphs[1:]]
    assert starts == ["Why it hurts", "Example", "Fix"], rule.code
    assert "\n" not in paragraphs[0] and paragraphs[0].endswith("."), "the first line stands alone"
    assert len(paragraphs[0]) <= 120


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_sources_or_a_reason(rule: Rule) -> None:
    assert bool(rule.sources) != bool(rule.unreported)
    assert all(re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", source) for source in rule.sources)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_codes_and_names_round_trip(rule: Rule) -> None:
    assert re.fullmatch(r"CK\d{3}", rule.code)
    assert by_code(rule.code) is rule
    assert by_code(rule.name) is rule
    assert rule.family in FAMILIES.values()
    # A name reads well after "ignore".
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", rule.name)
    assert not rule.name.startswith(("no-", "check-", "invalid-"))


def test_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_code_is_used_once() -> None:
    with pytest.raises(ValueError, match="CK101 is taken"):
        registry.rule("CK101", "another-name", RULES[0].severity)(lambda context: ())
    with pytest.raises(ValueError, match="name"):
        registry.rule("CK199", RULES[0].name, RULES[0].severity)(lambda context: ())


def test_reports_and_plans_speak_of_the_catalogue() -> None:
    codes = {rule.code for rule in RULES}
    assert not codes & set(PLANNED)
    reports = [*(rule.reports for rule in RULES if not rule.unreported), *(found for _, _, found in PLANNED.values())]
    assert all(reports)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", report) for found in reports for report in found)


def test_a_rule_lies_where_its_code_says() -> None:
    """Whoever reads CK301 in a terminal finds its file by that name."""
    for rule in RULES:
        family, file = rule.check.__module__.split(".")[-2:]
        assert family == rule.family and file == f"{rule.code}_{rule.name}".lower().replace("-", "_")


def test_what_was_seen_is_of_rules_and_their_cases() -> None:
    codes = {rule.code: sum(case.code == rule.code for case in CASES) for rule in RULES}
    for engine in engines().values():
        for code, seen in engine.reproduced().items():
            assert code in codes, f"{engine.name}: {code}"
            assert seen.exports or any(seen.cases), f"{engine.name}: {code}"
            assert not seen.cases or len(seen.cases) == codes[code], f"{engine.name}: {code}"
            assert {in_words(word) for word in (*seen.cases, *seen.exports.values()) if word is not None}


def test_effects_speak_of_rules() -> None:
    codes = {rule.code for rule in RULES}
    assert judged_codes() <= codes
    assert codes - judged_codes() == WITHOUT_EFFECTS
    assert {effect.engine for rule in RULES for effect in rule.effects} <= set(engines())


def test_every_kind_of_fault_belongs_to_one_rule() -> None:
    """What reading notes must reach the user: a kind that no rule claims would vanish silently."""
    claimed = [kind for path in sorted((ROOT / "rules").rglob("*.py")) for kind in _kinds_claimed(path)]
    made = {kind for folder in ("storage", "formats") for path in (ROOT / folder).rglob("*.py") for kind in _made(path)}
    assert sorted(kind for kind in set(claimed) if claimed.count(kind) > 1) == []
    assert made - set(claimed) - NOT_FINDINGS == set()


def _kinds_claimed(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "faults":
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield str(argument.value)


def _made(path: Path) -> Iterator[str]:
    """Kinds of faults that a module makes: the first argument, where it is written out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        first = node.args[0] if node.args else None
        is_kind = isinstance(first, ast.Constant) and isinstance(first.value, str)
        if name in ("Fault", "add", "_note") and is_kind and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", str(first.value)):
            yield str(first.value)


def test_selection_by_prefix() -> None:
    assert select() == RULES
    assert {rule.code for rule in select(["CK3"])} == {rule.code for rule in RULES if rule.code.startswith("CK3")}
    assert select(["shapes"]) == select(["CK3"])
    assert [rule.code for rule in select(["CK301"], ["CK3"])] == ["CK301"]
    assert "CK301" not in {rule.code for rule in select(["CK3"], ["CK301"])}
    assert select(["CK301"], ["CK301"]) == ()
    assert select(["channel-scale-rank"]) == select(["ck301"])
    for word in ("CK999", "", "shape"):
        with pytest.raises(UsageError):
            select([word])


def test_the_document_is_current() -> None:
    stored = Path(__file__).resolve().parents[2] / "docs" / "rules.md"
    assert stored.read_text("utf-8") == render_rules_markdown(), "run: make docs"
