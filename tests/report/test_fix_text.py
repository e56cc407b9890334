"""What a fix would change, for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks.fixing import Fixes, find_fixes
from ckptkit.checks.registry import Level
from ckptkit.report.fix_text import config_diff
from tests.damage import load


def fixes(folder: Path, *, indent: int | None, note: str = "") -> Fixes:
    """What fixes a skip list without the head, in a config.json of one line or of many."""
    checkpoint = load("llama/quark-ptpc")
    checkpoint.block["exclude"].clear()
    if note:
        checkpoint.config["note"] = note
    checkpoint.write(folder)
    (folder / "config.json").write_text(json.dumps(checkpoint.config, indent=indent), encoding="utf-8")
    return find_fixes(api.open_files(folder), Level.HEADERS)


def test_a_config_of_one_line_is_indented_and_its_header_says_so(tmp_path: Path) -> None:
    lines = config_diff(fixes(tmp_path / "x", indent=None), "x")
    assert lines[:2] == ["--- x/config.json (reformatted)", "+++ x/config.json (reformatted)"]
    assert [line for line in lines[2:] if line.startswith(("+", "-"))] == [
        '-    "exclude": [],',
        '+    "exclude": [',
        '+      "lm_head"',
        "+    ],",
    ]


@pytest.mark.parametrize("indent", [2, 4])
def test_a_config_of_many_lines_is_shown_as_it_is(tmp_path: Path, indent: int) -> None:
    lines = config_diff(fixes(tmp_path / "x", indent=indent), "x")
    assert lines[:2] == ["--- x/config.json", "+++ x/config.json"]
    assert f'-{" " * indent * 2}"exclude": [],' in lines


def test_one_long_value_among_many_lines_is_left_alone(tmp_path: Path) -> None:
    lines = config_diff(fixes(tmp_path / "x", indent=2, note="x" * 500), "x")
    assert lines[0] == "--- x/config.json"
