"""Shells complete the arguments that are paths."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from ckptkit.cli.main import cli


@pytest.mark.parametrize(
    "arguments",
    [["inspect"], ["convert"], ["convert", "quark:ct"], ["convert", "quark:ct", "a"], ["diff"], ["diff", "a"]],
)
def test_paths_are_completed(arguments: list[str]) -> None:
    found = BashComplete(cli, {}, "ckptkit", "_CKPTKIT_COMPLETE").get_completions(arguments, "mod")
    assert [(item.type, item.value) for item in found] == [("file", "mod")]
