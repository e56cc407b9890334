"""``ckptkit rule``."""

from __future__ import annotations

from ckptkit.checks import schema
from ckptkit.checks.registry import all_rules

from .conftest import Run


def test_a_rule_is_explained_by_code_or_name(run: Run) -> None:
    by_code, by_name = run("rule", "CK301"), run("rule", "channel-scale-rank")
    assert by_code.code == 0 and by_code.out == by_name.out
    for word in ("CK301", "channel-scale-rank", "Why it hurts", "Fix", "fixed by --fix"):
        assert word in by_code.out


def test_several_rules_in_one_go(run: Run) -> None:
    assert run("rule", "ck301", "CK605").out.count("Why it hurts") == 2


def test_all_rules_are_listed(run: Run) -> None:
    out = run("rule", "--all").out
    assert all(rule.code in out and rule.name in out for rule in all_rules())


def test_the_json_fits_its_schema(run: Run) -> None:
    everything, one = run("rule", "--all", "--json").json, run("rule", "CK301", "--json").json
    assert len(everything) == len(all_rules()) and one in everything
    assert schema.faults("rules", everything, file="rules") == schema.faults("rules", one, file="rules") == []


def test_an_unknown_rule_is_a_usage_error_with_its_neighbours(run: Run) -> None:
    outcome = run("rule", "CK399")
    assert outcome.code == 2 and "CK399" in outcome.err and "CK301" in outcome.err


def test_a_misspelled_name_is_recognised(run: Run) -> None:
    err = run("rule", "channel-scale-rnk").err
    assert "help: did you mean 'channel-scale-rank'? ckptkit rule --all lists them all" in err
    assert "help: ckptkit rule --all lists them all" in run("rule", "zzz").err


def test_documentation_is_filled_to_the_width_and_shows_no_markup(run: Run) -> None:
    out = run("rule", "CK301").out + run("rule", "--all").out
    assert "`" not in out
    assert all(len(line) <= 120 for line in out.splitlines())


def test_nothing_to_explain_is_a_usage_error(run: Run) -> None:
    assert run("rule").code == run("rule", "--all", "CK301").code == 2
