"""Names that anybody may have written: no command reads them as markup, emoji or commands of the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.damage import load

from .conftest import Run, on_terminal

#: Also the names of two folders, one in the other.
HOSTILE = "[/x]\x1b[31m:x:"
SHOWN = "[/x]\\x1b[31m:x:"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound checkpoint and a broken one, named badly and holding bad names; the places are relative."""
    monkeypatch.chdir(tmp_path)
    sound = load("llama/llmcompressor-dynamic")
    sound.config["architectures"] = [f"arch{HOSTILE}"]
    sound.put(f"tensor{HOSTILE}", "BF16", (2,), b"\0" * 4)
    sound.write(tmp_path / f"sound{HOSTILE}")
    broken = load("llama/llmcompressor-dynamic")
    broken.put(f"module{HOSTILE}.weight", "BF16", (2, 2), b"\0" * 8)
    broken.block["ignore"] = []
    broken.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    broken.write(tmp_path / f"broken{HOSTILE}")
    return tmp_path


COMMANDS = {
    "inspect": (["inspect", "sound@"], ["sound@", "arch@"]),
    "tensors": (["inspect", "sound@", "--tensors"], ["tensor@"]),
    "validate": (["validate", "broken@"], ["broken@", "module@"]),
    "tables": (["validate", "broken@", "--matrix", "--skip-list", "--tp", "2"], ["module@", "broken@"]),
    "concise": (["validate", "broken@", "--output-format", "concise"], ["module@", "broken@"]),
    "diff-fixes": (["validate", "broken@", "--diff"], ["broken@"]),
    "fix": (["validate", "broken@", "--fix", "--output", "fixed@"], ["fixed@"]),
    "plot": (["inspect", "sound@", "--plot"], ["sound@"]),
    "report": (["report", "broken@", "--json"], []),
    "page": (["report", "broken@", "--html", "page@"], ["page@"]),
    "plan": (["convert", "sound@", "--to", "quark", "--dry-run"], []),
    "convert": (["convert", "sound@", "made@", "--to", "quark"], ["made@"]),
    "refusal": (["convert", "broken@", "made@", "--to", "quark"], ["module@"]),
    "diff": (["diff", "sound@", "broken@"], ["tensor@", "module@"]),
    "error": (["inspect", "nowhere@"], ["nowhere@"]),
    "serve": (["serve", "sound@"], ["sound@"]),
    "no-serve": (["serve", "broken@", "--for", "sglang"], []),
    "rule": (["rule", "rule@"], ["rule@"]),
}


def commands() -> list[object]:
    return [pytest.param(*command, id=name) for name, command in COMMANDS.items()]


def check(output: str, shown: list[str]) -> None:
    assert "Traceback" not in output and "MarkupError" not in output
    for name in shown:
        assert name.replace("@", SHOWN) in output
    assert "❌" not in output and HOSTILE not in output


@pytest.mark.parametrize(("arguments", "shown"), commands())
def test_names_are_shown_as_they_are(arguments: list[str], shown: list[str], run: Run, work: Path) -> None:
    (work / f"made{HOSTILE}").parent.mkdir(exist_ok=True)
    (work / f"fixed{HOSTILE}").parent.mkdir(exist_ok=True)
    (work / f"page{HOSTILE}").parent.mkdir(exist_ok=True)
    outcome = run(*(argument.replace("@", HOSTILE) for argument in arguments))
    check(outcome.out + outcome.err, shown)


@pytest.mark.parametrize(("arguments", "shown"), commands())
def test_names_are_shown_as_they_are_on_a_terminal(arguments: list[str], shown: list[str], work: Path) -> None:
    (work / f"made{HOSTILE}").parent.mkdir(exist_ok=True)
    (work / f"fixed{HOSTILE}").parent.mkdir(exist_ok=True)
    (work / f"page{HOSTILE}").parent.mkdir(exist_ok=True)
    check(on_terminal(*(argument.replace("@", HOSTILE) for argument in arguments)), shown)
