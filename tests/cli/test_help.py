"""Help and refusals of what is typed: words that are nearly right, what a value was given by, terminals of any kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fixtures.terminal import on_screen

from .conftest import REAL, Run, on_terminal, run_process
from .test_output import every_command

CLEAN = REAL / "llama" / "quark-ptpc"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "message", "help_text"),
    [
        ("hook instal .", "there is no command 'instal'", "did you mean 'install'?"),
        ("golden chek", "there is no command 'chek'", "did you mean 'check'?"),
        ("help hook instal", "there is no command 'instal'", "'ckptkit hook --help' lists the commands"),
        ("completion zhs", "SHELL must be one of bash, zsh, fish, not 'zhs'", "did you mean 'zsh'?"),
        ("diff a b --level fll", "--level must be one of headers, scales, full, not 'fll'", "did you mean 'full'?"),
        ("convert a b --to ct --experts splt", "--experts must be one of split, stack", "did you mean 'split'?"),
        ("convert a b --to ct --fused fues", "--fused must be one of split, fuse", "did you mean 'fuse'?"),
        ("convert a b --granularity chanel", "--granularity must be one of", "did you mean 'channel'?"),
        ("validate a --color alwys", "--color must be one of auto, always, never", "did you mean 'always'?"),
        ("validate a --levle full", "no such option --levle", "did you mean '--level'?"),
        ("validate a --zzz", "no such option --zzz", "'ckptkit validate --help' shows"),
        ("convert a b --to ct -j 0", "invalid value for --jobs: 0 is not in the range", "--help' shows"),
        ("inspect", "missing argument PATH", "--help' shows"),
        ("validate a --tp ²", "--tp must be a list of whole numbers above zero", ""),
    ],
)
def test_every_kind_of_word_that_is_nearly_right(typed: str, message: str, help_text: str, run: Run) -> None:
    outcome = run(*typed.split())
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.err.startswith(f"error: {message}") and help_text in outcome.err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CKPTKIT_COLOR", "alwys", "CKPTKIT_COLOR must be one of auto, always, never, not 'alwys'"),
        ("CKPTKIT_QUIET", "maybe", "invalid value for CKPTKIT_QUIET: 'maybe' is not a valid boolean"),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    variable: str, value: str, message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert message in run("inspect", CLEAN).err


def test_variables_take_blanks_or_commas(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTKIT_FOR", "vllm sglang")
    monkeypatch.setenv("CKPTKIT_TP", "1 2")
    for command in ("validate", "report"):
        found = run(command, CLEAN, "--json").json["matrix"]
        rows = found["engines"] if command == "validate" else found
        assert [row["engine"] for row in rows] == ["vllm", "sglang"]
        assert [one["size"] for one in rows[0]["parallel"]] == [1, 2]
    monkeypatch.setenv("CKPTKIT_LEVEL", "")
    assert run("validate", CLEAN).code == 0, "an empty variable is none"


@pytest.mark.parametrize("columns", [60, 80])
def test_help_never_cuts_an_option_or_a_line(columns: int) -> None:
    for words in ("convert", "validate", "hook", "hook install", "upload", ""):
        shown = on_screen(on_terminal(*words.split(), "--help", columns=columns))
        for line in shown.splitlines():
            assert len(line) <= columns or line.lstrip().startswith("ckptkit "), line
            assert not re.search(r"\s-{1,2}$|\w-$", line), line


def test_help_lists_options_and_whole_sentences(run: Run) -> None:
    for words, command in every_command():
        options = run(*words.split(), "--help").out.partition("Options:")[2].partition("Every command:")[0]
        for line in options.splitlines():
            assert not re.match(r"  [A-Z\[]", line), f"{words}: {line}: an argument is in the usage, and is no option"
        assert command.help
    shown = run("hook", "--help").out
    assert not re.search(r"^  pre-push", shown, re.MULTILINE), "what git calls is not for people"
    assert "put back the one that was there before." in " ".join(shown.split())


def test_help_in_a_locale_without_arrows() -> None:
    done = run_process("convert", "--help", **ASCII)
    assert done.returncode == 0 and done.stdout.isascii() and "quark->ct" in done.stdout
    assert "quark→ct" in run_process("convert", "--help", PYTHONUTF8="1").stdout


@pytest.mark.parametrize("columns", [60, 100])
def test_a_dumb_terminal_has_its_width(columns: int) -> None:
    lines = on_screen(on_terminal("inspect", CLEAN, columns=columns, term="dumb")).splitlines()
    assert max(map(len, lines)) <= columns and any(len(line) > columns - 25 for line in lines)
    assert "\x1b" not in on_terminal("inspect", CLEAN, columns=columns, term="dumb")


def test_columns_of_the_environment_come_first() -> None:
    narrow = on_screen(on_terminal("inspect", CLEAN, columns=120, COLUMNS="60"))
    assert max(map(len, narrow.splitlines())) <= 60
    assert on_screen(on_terminal("inspect", CLEAN, columns=60, COLUMNS="nonsense")) == on_screen(
        on_terminal("inspect", CLEAN, columns=60)
    )
