"""Shells complete commands, paths, and the values of options, as each shell wants it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, get_completion_class

from ckptkit.cli.completion import SHELLS
from ckptkit.cli.main import cli
from tests.cli.conftest import Run


def offered(arguments: list[str], typed: str) -> list[str]:
    found = BashComplete(cli, {}, "ckptkit", "_CKPTKIT_COMPLETE").get_completions(arguments, typed)
    return [item.value for item in found]


@pytest.mark.parametrize(
    "arguments",
    [["inspect"], ["convert"], ["convert", "quark:ct"], ["convert", "quark:ct", "a"], ["diff"], ["diff", "a"]],
)
def test_paths_are_completed(arguments: list[str]) -> None:
    found = BashComplete(cli, {}, "ckptkit", "_CKPTKIT_COMPLETE").get_completions(arguments, "mod")
    assert [(item.type, item.value) for item in found] == [("file", "mod")]


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (["validate", "--for"], "S", ["sglang"]),
        (["validate", "--for"], "vllm,tr", ["vllm,trtllm", "vllm,transformers"]),
        (["validate", "--gpu"], "H", ["h100", "h200"]),
        (["serve", "--gpu"], "sm_1", ["sm_100", "sm_103", "sm_120"]),
        (["validate", "--level"], "", ["headers", "scales", "full"]),
        (["validate", "--output-format"], "s", ["sarif"]),
        (["validate", "--ignore"], "CK301", ["CK301"]),
        (["validate", "--select"], "CK101,ck30", [f"CK101,CK30{n}" for n in range(1, 10)]),
        (["rule"], "CK301", ["CK301"]),
        (["convert", "--to"], "b", ["bf16"]),
        (["convert", "--to"], "quark", ["quark"]),
        (["convert", "--scheme"], "fp8_dyn", ["FP8_DYNAMIC"]),
        (["convert", "--mode"], "ten", ["tensor"]),
        (["convert"], "quark-to-c", ["quark-to-ct", "quark-to-c"]),
        (["convert", "quark-to-ct"], "mod", ["mod"]),
        (["diff", "--level"], "f", ["full"]),
        (["validate", "--color"], "a", ["auto", "always"]),
        ([], "va", ["validate"]),
        (["hook"], "un", ["uninstall"]),
        (["completion"], "z", ["zsh"]),
    ],
)
def test_values_are_completed(arguments: list[str], typed: str, words: list[str]) -> None:
    assert offered(arguments, typed) == words


def test_every_direction_that_is_offered_is_understood() -> None:
    from ckptkit.cli.convert import parse_arguments
    from ckptkit.formats.registry import by_name

    directions = offered(["convert"], "")[:-1]
    assert len(directions) == len(set(directions)) > 20
    for direction in directions:
        source, target, _ = parse_arguments((direction, "a", "b"), None)
        assert source is not None and by_name(source) and by_name(target)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script(shell: str, run: Run) -> None:
    outcome = run("completion", shell)
    assert outcome.code == 0 and f"{shell}_complete" in outcome.out and get_completion_class(shell) is not None
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=outcome.out, text=True, check=True)


def test_bash_completes_with_it(tmp_path: Path, run: Run) -> None:
    (tmp_path / "ckptkit").write_text(f'#!/bin/sh\nexec {sys.executable} -m ckptkit "$@"\n')
    (tmp_path / "ckptkit").chmod(0o755)
    script = run("completion", "bash").out
    script += f"""
PATH={tmp_path}:$PATH
COMP_WORDS=(ckptkit validate --for vl) COMP_CWORD=3
_ckptkit_completion ckptkit
echo "offered: ${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "offered: vllm", done.stderr
