"""Fixes know what a finding is about from data; its texts are for people, and may be written anew at any time."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

import ckptkit
from ckptkit import api
from ckptkit.checks import runner
from ckptkit.checks.registry import Level, all_fixers
from ckptkit.storage.container import open_container
from tests.damage import CONFIG, QUARK, load
from tests.fixes.test_each import CASES, Case
from tests.raw import MemorySource

RULES = sorted((Path(ckptkit.__file__).parent / "rules").rglob("*.py"))
#: What code that makes edits may ask a finding.
DATA = {"subject", "code"}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_fix_reads_a_text(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        given = {
            item.arg for item in function.args.args if item.annotation and ast.unparse(item.annotation) == "Finding"
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in given:
                assert node.attr in DATA, f"{path.name}:{node.lineno}: {function.name} reads {node.attr} of a finding"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name}")
def test_a_fix_does_the_same_without_any_text(case: Case) -> None:
    checkpoint = load(case.fixture)
    case.damage(checkpoint)
    context = runner.read_context(open_container(MemorySource(checkpoint.to_files())))
    findings = [f for f in runner.run(context, Level.SCALES).findings if f.code == case.code]
    assert findings
    for finding in findings:
        mute = replace(finding, message="", expected=None, found=None, help=None)
        for fixer in all_fixers()[case.code]:
            assert list(fixer.function(context, mute)) == list(fixer.function(context, finding))


def test_an_entry_too_long_to_be_shown_is_removed(tmp_path: Path) -> None:
    checkpoint = load(QUARK)
    before = list(checkpoint.block["exclude"])
    checkpoint.block["exclude"].append("model.layers.9." + "a_very_long_name_that_nobody_has." * 5 + "gate")
    folder = checkpoint.write(tmp_path / "long")
    assert "CK607" in {finding.code for finding in api.validate(folder).findings}
    fixed = api.validate(folder, fix=True, select=["CK607"])
    assert "CK607" not in {finding.code for finding in fixed.findings}
    assert json.loads((folder / CONFIG).read_text())["quantization_config"]["exclude"] == before
