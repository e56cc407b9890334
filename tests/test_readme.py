"""The README is a program: its commands run, its transcript is what is printed, its Python works."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

import pytest

from fixtures import demo
from tests.cli.conftest import run_process

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that "make demo" leaves behind, in which all lines are typed."""
    demo.build(tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


def test_every_line_can_be_pasted_after_make_demo(workplace: Path) -> None:
    for command, _ in demo.story():
        run_process(*shlex.split(command)[1:])
    commands = [line.partition("  #")[0] for block in blocks("bash") for line in block.splitlines()]
    ours = [shlex.split(command)[1:] for command in commands if command.startswith("ckptkit ")]
    assert len(ours) >= 12
    for arguments in ours:
        expanded = [name for word in arguments for name in (sorted(glob.glob("*")) if word == "*" else [word])]
        done = run_process(*expanded)
        differs = arguments == ["diff", "Llama-3.1-8B", "Llama-3.1-8B-FP8"]
        assert done.returncode == int(differs), f"{arguments}: {done.stdout}{done.stderr}"


def test_python_runs(workplace: Path) -> None:
    (code,) = blocks("python")
    done = run_process(code=code)
    assert done.returncode == 0, done.stderr
    assert Path("converted/config.json").exists()


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", README))
    assert {"demo", "test", "quality", "style", "bench", "interop", "fixtures"} <= named <= targets


def test_what_it_points_to_exists() -> None:
    for path in re.findall(r"`((?:tests|docs|fixtures|benchmarks)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
