"""One snapshot for each output format, and what must hold of each whatever the snapshot says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from ckptkit import __version__
from ckptkit.checks import schema
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import Level, Rule, Safety
from ckptkit.checks.runner import Report
from ckptkit.checks.settings import OUTPUT_FORMATS
from ckptkit.report import findings_text, machine, rule_text
from ckptkit.storage.traffic import Traffic
from tests.report.conftest import FORMATS, Snapshot, make_rule, rendered, terminal

Rules = Mapping[str, Rule]
ENDINGS = {"json": "json", "sarif": "json", "junit": "xml", "github": "txt", "concise": "txt"}


def offered(report: Report, rules: Rules) -> Mapping[Finding, Safety]:
    """Fixes for all findings whose rule has one, but for a projection that they are beyond."""
    found = {finding: rules[finding.code].fix for finding in report.findings if "q_proj" not in (finding.tensor or "")}
    return {finding: safety for finding, safety in found.items() if safety is not None}


def test_every_format_has_a_renderer() -> None:
    assert {"text", *FORMATS} == set(OUTPUT_FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_snapshot(name: str, reports: list[Report], rules: Rules, snapshot: Snapshot) -> None:
    text = rendered(name, reports, rules)
    if name == "sarif":
        text = re.sub(r'("(?:semanticV|v)ersion": )"0[^"]*"', r'\1"0"', text)
    snapshot(f"{name}.{ENDINGS[name]}", text + "\n")


@pytest.mark.parametrize("colour", [False, True])
def test_text(reports: list[Report], rules: Rules, snapshot: Snapshot, colour: bool) -> None:
    out, stream = terminal(colour=colour)
    for report in reports:
        findings_text.show_report(report, offered(report, rules), out=out)
    snapshot("text-coloured.txt" if colour else "text.txt", stream.getvalue())


def test_quiet_text_is_findings_only(reports: list[Report]) -> None:
    out, stream = terminal()
    findings_text.show_report(reports[1], quiet=True, out=out)
    assert stream.getvalue() == ""


def test_statistics(reports: list[Report], rules: Rules, snapshot: Snapshot) -> None:
    out, stream = terminal()
    findings_text.show_statistics(reports, offered(reports[0], rules), out=out)
    snapshot("statistics.txt", stream.getvalue())


def test_rule(rules: Rules, snapshot: Snapshot) -> None:
    out, stream = terminal()
    rule_text.show_rule(rules["CK301"], out=out)
    rule_text.show_rules(rules.values(), out=out)
    snapshot("rule.txt", stream.getvalue())


def test_the_first_line_of_a_finding_stands_alone(reports: list[Report]) -> None:
    out, stream = terminal()
    findings_text.show_report(reports[0], out=out)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith(("error", "warning", "info"))]
    assert [line.split()[1] for line in lines] == ["CK301", "CK301", "CK605", "CK111"]
    assert "model.safetensors: model.layers.0.mlp.up_proj.weight_scale: the per-channel scale" in lines[0]


def test_only_what_can_be_fixed_is_said_to_be(reports: list[Report], rules: Rules) -> None:
    out, stream = terminal()
    findings_text.show_report(reports[0], offered(reports[0], rules), out=out)
    fixes = [line.strip() for line in stream.getvalue().splitlines() if "fix:" in line]
    assert fixes == [
        "fix: ckptkit validate 'models/odd [name]' --fix (12 of 13)",
        "fix: ckptkit validate 'models/odd [name]' --fix --unsafe-fixes",
    ]
    findings_text.show_report(replace(reports[0], traffic=Traffic(1, 1)), offered(reports[0], rules), out=out)
    assert "--fix --output DIR (12 of 13)\n" in stream.getvalue(), "what is remote cannot be fixed where it is"
    out, stream = terminal()
    findings_text.show_report(reports[0], out=out)
    findings_text.show_statistics(reports, out=out)
    assert "--fix" not in stream.getvalue()


@pytest.mark.parametrize("name", ["text", "concise", "github", "junit"])
def test_nothing_from_a_file_reaches_a_terminal_raw(name: str, reports: list[Report], rules: Rules) -> None:
    if name == "text":
        out, stream = terminal()
        findings_text.show_report(reports[0], out=out)
        text = stream.getvalue()
    else:
        text = rendered(name, reports, rules)
    assert all(character.isprintable() or character == "\n" for character in text)


def test_one_report_is_a_document_and_several_are_a_list(reports: list[Report], rules: Rules) -> None:
    assert isinstance(json.loads(rendered("json", reports[:1], rules)), dict)
    assert len(json.loads(rendered("json", reports, rules))) == 2
    (one,) = json.loads(machine.dump([{}], {}, several=True))  # one of two could be read
    assert one == {"$schema": "urn:ckptkit:schema:report", "ckptkit": __version__}


def test_json_fits_its_schema(reports: list[Report], rules: Rules) -> None:
    assert schema.faults("report", json.loads(rendered("json", reports, rules)), file="report") == []
    assert schema.faults("rules", [rule.to_json() for rule in rules.values()], file="rules") == []


def test_sarif_is_what_the_standard_asks_for(reports: list[Report], rules: Rules) -> None:
    document = json.loads(machine.to_sarif(reports, rules, {}))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    described = [rule["id"] for rule in driver["rules"]]
    assert driver["name"] == "ckptkit" and len(set(described)) == len(described)
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
    assert len(run["results"]) == sum(len(report.findings) for report in reports)
    for result in run["results"]:
        assert result["ruleId"] == described[result["ruleIndex"]]
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"]
        for location in result["locations"]:
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            parts = urlsplit(uri)
            assert uri.isascii() and not parts.scheme and not parts.query and not parts.fragment
            assert unquote(parts.path).startswith("models/odd [name]/")
        assert re.fullmatch(r"[0-9a-f]{32}", result["partialFingerprints"]["ckptkit/v1"])


def test_sarif_fingerprints_differ_by_place_and_not_by_wording(reports: list[Report], rules: Rules) -> None:
    results = json.loads(machine.to_sarif(reports, rules, {}))["runs"][0]["results"]
    prints = [result["partialFingerprints"]["ckptkit/v1"] for result in results]
    assert len(set(prints)) == len(prints)


def test_github_commands_are_one_line_each(reports: list[Report], rules: Rules) -> None:
    lines = machine.to_github(reports, rules, {}).splitlines()
    assert len(lines) == sum(len(report.findings) for report in reports)
    for line in lines:
        match = re.fullmatch(r"::(error|warning|notice) file=([^,:]*),title=([^,:]*)::(.*)", line)
        assert match is not None, line
    assert "100%25 odd" in lines[13]
    assert "file=models/odd [name]/a%2Cb%3Ac.safetensors" in lines[13]


def test_junit_is_well_formed_and_counts_right(reports: list[Report], rules: Rules) -> None:
    root = ElementTree.fromstring(machine.to_junit(reports, rules, {}))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["models/odd [name]", "models/good"]
    for suite in suites:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
    assert (suites[0].get("failures"), suites[1].get("failures")) == ("14", "0")


def test_places_are_relative_to_where_we_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def places(label: str, file: str | None) -> tuple[str, str]:
        finding = Finding("CK301", "channel-scale-rank", Severity.ERROR, "wrong", file)
        report = Report(label, None, None, Level.SCALES, (finding,), 1, 1)
        known = {"CK301": make_rule("CK301", "channel-scale-rank", Severity.ERROR)}
        location = json.loads(machine.to_sarif([report], known, {}))["runs"][0]["results"][0]["locations"][0]
        github = re.fullmatch(r"::error file=(.*),title=.*", machine.to_github([report], known, {}))
        assert github is not None
        return github[1], location["physicalLocation"]["artifactLocation"]["uri"]

    assert places(".", "model.safetensors") == ("model.safetensors", "model.safetensors")
    assert places("../here/br/", "a b.json") == ("br/a b.json", "br/a%20b.json")
    assert places(f"{here}/br", None) == ("br", "br")
    assert places("a:b", None) == ("a%3Ab", "a%3Ab"), "a colon does not make it a scheme"
    outside = f"{tmp_path}/x/config.json"
    assert places("../x", "config.json") == (outside, f"file://{outside}")
    remote = "hf://org/repo@main/config.json"
    assert places("hf://org/repo@main", "config.json") == (remote.replace(":", "%3A"), remote)


def test_an_empty_list_of_findings_prints_nothing_for_github(reports: list[Report], rules: Rules) -> None:
    assert machine.to_github(reports[1:], rules, {}) == ""


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_that_was_not_checked_is_in_every_document(name: str, reports: list[Report], rules: Rules) -> None:
    text = rendered(name, reports[:1], rules, {"models/gone": "models/gone does not exist"})
    assert "models/gone does not exist" in text
    if name == "junit":
        suites = ElementTree.fromstring(text.partition("\n")[2]).findall("testsuite")
        assert [suite.get("errors") for suite in suites] == ["0", "1"]
    if name == "sarif":
        (invocation,) = json.loads(text)["runs"][0]["invocations"]
        assert invocation["executionSuccessful"] is False
