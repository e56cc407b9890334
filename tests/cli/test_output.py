"""Where output goes and how: colour, how much, files, exit codes, settings by environment, what a wait looks like."""

from __future__ import annotations

import json
import re
import shlex
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest

from ckptkit.checks import schema
from ckptkit.checks.settings import CHECKPOINT_KEYS, OUTPUT_FORMATS, PROJECT_KEYS
from ckptkit.cli.command import Command, Group
from ckptkit.cli.main import COMMANDS, cli
from ckptkit.report import sink
from ckptkit.report.progress import ByteProgress
from tests.damage import load

from .conftest import REAL, Run, on_terminal, run_process

CLEAN = REAL / "llama" / "quark-ptpc"
ESCAPE = "\x1b["


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    return checkpoint.write(tmp_path / "broken")


def every_command() -> list[tuple[str, Command]]:
    """Every command that people are shown, with the words to call it."""
    found: list[tuple[str, Command]] = []
    for name in COMMANDS:
        command: Any = cli.get_command(click.Context(cli), name)
        inner = command.commands.items() if isinstance(command, Group) else [("", command)]
        found += [(f"{name} {word}".strip(), one) for word, one in inner if not one.hidden]
    return found


@pytest.mark.parametrize(
    ("words", "command"), every_command(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_the_common_options_and_examples_that_parse(
    words: str, command: Command, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(*words.split(), "--help").out
    for option in ("--quiet", "--verbose", "--color", "--output-file"):
        assert option in shown
    assert "Examples:" in shown and command.examples
    assert ("--exit-zero" in shown) == ("1:" in str(command.help) or "with 1" in shown or "code 1" in str(command.help))
    for line, meaning in command.examples:
        assert line in shown and meaning in shown
        typed = line.partition(">")[0].replace("models/*", "models/a models/b").removeprefix("$(").removesuffix(")")
        program, *arguments = shlex.split(typed)
        assert program == "ckptkit" and " ".join(arguments[: len(words.split())]) == words
        command.make_context(words, arguments[len(words.split()) :], resilient_parsing=False)
        sink.reset()


def test_colour_is_for_terminals_and_for_who_asks(run: Run, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ESCAPE not in run("validate", broken).out
    assert ESCAPE in run("validate", broken, "--color", "always").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESCAPE in run("validate", broken).out
    assert ESCAPE not in run("validate", broken, "--color", "never").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in run("validate", broken).out
    assert ESCAPE in run("validate", broken, "--color", "always").out
    monkeypatch.setenv("CKPTKIT_COLOR", "always")
    assert ESCAPE in run("validate", broken).out


def test_colour_on_a_terminal(broken: Path) -> None:
    coloured = re.compile(r"\x1b\[1;31m")
    assert coloured.search(on_terminal("validate", broken))
    assert not coloured.search(on_terminal("validate", broken, NO_COLOR="1"))
    assert not coloured.search(on_terminal("validate", broken, "--color", "never"))
    assert not coloured.search(on_terminal("validate", broken, term="dumb"))


def test_colour_does_not_cut_lines_where_nobody_looks(run: Run, broken: Path) -> None:
    plain = run("validate", broken).out
    coloured = run("validate", broken, "--color", "always").out
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_quiet_is_the_answer_alone(run: Run, broken: Path) -> None:
    assert run("validate", CLEAN, "-q").out == ""
    assert run("diff", CLEAN, CLEAN, "-q").out.count("\n") == 1
    assert run("convert", "quark:ct", CLEAN, "out", "-q").out.startswith("written: out")
    assert run("inspect", CLEAN, "-q").out.count("\n") == 1
    assert run("rule", "CK301", "-q").out == "CK301 channel-scale-rank  error\n"
    assert run("doctor", "-q").out == ""
    assert run("-q", "validate", CLEAN).out == "", "before the command too"


def test_verbose_is_what_is_counted_otherwise(run: Run, broken: Path) -> None:
    usual, verbose = run("validate", broken).out, run("validate", broken, "-v").out
    assert "(and 1 like it)" in usual and "... and 4 more CK301" in usual
    assert "like it" not in verbose and "more CK301" not in verbose
    assert len(re.findall("^error CK301", verbose, re.MULTILINE)) == 14


def test_output_goes_into_a_file_whole_or_not_at_all(run: Run, broken: Path) -> None:
    expected = run("validate", broken).out
    outcome = run("validate", broken, "--output-file", "report.txt")
    assert (outcome.code, outcome.out) == (1, "") and Path("report.txt").read_text() == expected
    assert run("validate", broken, "--json", "--output-file", "report.json").out == ""
    assert json.loads(Path("report.json").read_text())["counts"]["error"] == 14
    outcome = run("inspect", "nope", "--output-file", "report.txt")
    assert outcome.code == 2 and "does not exist" in outcome.err
    assert Path("report.txt").read_text() == expected, "what failed leaves it as it was"
    outcome = run("inspect", "nope", "--json", "--output-file", "report.json")
    assert outcome.out == "" and json.loads(Path("report.json").read_text())["kind"] == "UsageError"
    assert "does not exist" in run("inspect", CLEAN, "--output-file", "no/folder.txt").err
    assert "is a folder" in run("inspect", CLEAN, "--output-file", "broken").err
    for name in ("config.json", "model.safetensors"):
        assert "lies in a checkpoint" in run("validate", broken, "--output-file", broken / name).err


def test_exit_zero_is_for_findings_and_not_for_failures(run: Run, broken: Path) -> None:
    assert run("validate", broken).code == 1 and run("validate", broken, "--exit-zero").code == 0
    base = REAL / "llama" / "bf16"
    assert run("diff", base, CLEAN).code == 1 and run("diff", base, CLEAN, "--exit-zero").code == 0
    assert run("validate", "nope", "--exit-zero").code == 2


def test_settings_by_environment(run: Run, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTKIT_OUTPUT_FORMAT", "concise")
    assert run("validate", broken).out.splitlines()[-1] == f"{broken}: 14 errors, 1 info"
    assert run("validate", broken, "--output-format", "json").json, "what is typed comes first"
    monkeypatch.setenv("CKPTKIT_IGNORE", "CK3,CK6")
    assert run("validate", broken).code == 0
    monkeypatch.setenv("CKPTKIT_LEVEL", "nonsense")
    assert run("validate", broken).code == 2
    monkeypatch.setenv("CKPTKIT_LEVEL", "headers")
    Path("pyproject.toml").write_text('[tool.ckptkit]\nlevel = "scales"\n')
    assert run("validate", CLEAN, "--output-format", "json").json["level"] == "headers", "before what files say"


def test_every_variable_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(CKPTKIT_[A-Z_]+)`", text))
    used = {
        str(option.envvar)
        for _, command in every_command()
        for option in (*command.params, *command.common)
        if isinstance(option, click.Option) and option.envvar
    }
    assert named == used


def test_every_key_of_files_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    table = text.partition("## Keys of files")[2].partition("## Variables")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]*) \| `--[a-z-]+` \|$", table, re.MULTILINE))
    assert set(rows) == set(PROJECT_KEYS)
    assert {key for key, where in rows.items() if where == "both files"} == set(CHECKPOINT_KEYS)
    assert all(word in table for word in OUTPUT_FORMATS)


def test_every_schema_of_what_is_printed_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)\.json`", text))
    printed = {name for name in schema.names() if "ckptkit" in str(schema.load(name)["description"])}
    assert named >= printed - {"manifest"}
    assert named <= set(schema.names())


def test_every_json_document_names_its_schema_and_fits_it(run: Run) -> None:
    kv = REAL / "llama" / "quark-fp8-kv"
    commands: dict[str, list[str | Path]] = {
        "summary": ["inspect", CLEAN],
        "report": ["validate", CLEAN],
        "plan": ["convert", kv, "--to", "ct", "--dry-run"],
        "result": ["convert", kv, "out", "--to", "ct"],
        "comparison": ["diff", CLEAN, CLEAN],
        "doctor": ["doctor"],
        "rules": ["rule", "CK301"],
        "serving": ["serve", CLEAN],
        "page": ["report", CLEAN],
        "error": ["inspect", "nope"],
    }
    for name, arguments in commands.items():
        document = run(*arguments, "--json").json
        assert document["$schema"] == schema.load(name)["$id"], name
        assert schema.faults(name, document, file=name) == [], name


def test_one_of_several_that_cannot_be_read_is_an_error_among_the_others(run: Run, broken: Path) -> None:
    for command, name in (("inspect", "summary"), ("validate", "report")):
        outcome = run(command, CLEAN, "nope", broken, "--json")
        assert outcome.code == 2
        ids = [document["$schema"].rpartition(":")[2] for document in outcome.json]
        assert sorted(ids) == sorted([name, name, "error"])
        for document, kind in zip(outcome.json, ids, strict=True):
            assert schema.faults(kind, document, file=kind) == []
        (failed,) = (document for document in outcome.json if "error" in document)
        assert failed["path"] == "nope" and failed["kind"] == "UsageError"


def test_a_plan_that_was_printed_is_carried_out(run: Run) -> None:
    Path("plan.json").write_text(run("convert", CLEAN, "--to", "ct", "--dry-run", "--json").out)
    assert run("convert", "--plan", "plan.json", CLEAN, "out").code == 0


def test_rules_in_sarif_lead_to_their_page(run: Run, broken: Path) -> None:
    document = run("validate", broken, "--output-format", "sarif").json
    page = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    assert rules
    for rule in rules:
        address, _, anchor = rule["helpUri"].partition("#")
        assert address.endswith("/docs/rules.md")
        assert f"(#{anchor})" in page, "the page's own links lead there"


class Clock:
    """Bytes done at a time, as a progress sees them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_a_wait_says_bytes_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    progress = ByteProgress("scanning", quiet=True)
    clock.now += 2
    assert progress.words() == "scanning: 2 s"
    progress.start(4 << 30)
    clock.now += 4
    progress.advance(1 << 30)
    assert progress.words() == "scanning: 1 GiB of 4 GiB (25%), 256 MiB/s, 12 s left"
    progress.advance(3 << 30)
    assert progress.words() == "scanning: 4 GiB of 4 GiB (100%), 1 GiB/s"


def test_requests_are_counted_while_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptkit.storage.traffic import Meter

    clock = Clock(monkeypatch)
    meter = Meter()
    with ByteProgress("reading hf://org/model", quiet=True) as progress:
        meter.count(requests=1)
        meter.count(requests=1, nbytes=2048)
        clock.now += 70
        assert progress.words() == "reading hf://org/model: 2 requests, 2 KiB fetched, 1:10"
    meter.count(requests=5)
    assert "2 requests" in progress.words(), "not after the wait"


SLOW = """
import time
from ckptkit.report import progress
progress.PATIENCE, progress.REDRAW, progress.FIRST_BEAT, progress.HEARTBEAT = 0.05, 0.05, 0.05, 0.05
with progress.ByteProgress("scanning") as wait:
    wait.start(1000)
    wait.advance(500)
    time.sleep(0.4)
print("done")
"""


def test_a_log_gets_whole_lines_and_a_terminal_one_that_goes(tmp_path: Path) -> None:
    logged = run_process(code=SLOW)
    assert logged.stdout == "done\n"
    lines = logged.stderr.splitlines()
    assert len(lines) >= 2 and all(re.fullmatch(r"scanning: 500 B of 1000 B \(50%\), .*", line) for line in lines)
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    shown = on_terminal(code=script)
    assert "scanning: 500 B of 1000 B" in shown and "━" * 8 in shown
    assert shown.endswith("\r\x1b[Kdone\r\n") and "\n" not in shown.removesuffix("\n").rstrip("\r")


ASIDE = """
import sys, time
from ckptkit.report import progress
progress.PATIENCE, progress.REDRAW = 0.01, 0.001
with progress.ByteProgress("planning") as wait:
    time.sleep(0.2)
    with wait.aside():
        for word in "a line that is printed slowly\\n":
            sys.stdout.write(word)
            sys.stdout.flush()
            time.sleep(0.02)
    time.sleep(0.1)
"""


def test_what_is_printed_meanwhile_is_not_drawn_over(tmp_path: Path) -> None:
    script = tmp_path / "aside.py"
    script.write_text(ASIDE)
    shown = on_terminal(code=script)
    assert "planning" in shown and "\r\x1b[Ka line that is printed slowly\r\n" in shown


class Watched(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [StringIO(), Watched()])
def test_short_work_shows_nothing(stream: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptkit.report.progress.PATIENCE", 60.0)
    monkeypatch.setattr("ckptkit.report.progress.FIRST_BEAT", 60.0)
    monkeypatch.setattr("sys.stderr", stream)
    with ByteProgress("checking") as progress:
        progress.start(1)
        progress.advance(1)
        with progress.aside():
            pass
    assert stream.getvalue() == ""


def test_a_full_scan_counts_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptkit.validation import Request, validate

    told: list[tuple[int, int]] = []
    validate(CLEAN, Request(level="full"), on_scan=lambda nbytes, total: told.append((nbytes, total)))
    assert told[0] == (0, 79872) and sum(nbytes for nbytes, _ in told) == 79872


@pytest.mark.parametrize("output", [None, "fixed"])
def test_a_fix_counts_what_it_writes_and_then_scans(output: str | None, broken: Path) -> None:
    from ckptkit.validation import Request, validate

    told: list[tuple[str, int, int]] = []
    request = Request(level="full", fix=True, output=output)
    counts = [lambda nbytes, total, what=what: told.append((what, nbytes, total)) for what in ("scanned", "written")]
    assert validate(broken, request, lambda moved: None, *counts).written
    phases = list(dict.fromkeys(what for what, _, _ in told))
    assert phases == ["written", "scanned"], "in this order, each beginning with how much there is to do"
    for phase in phases:
        own = [(nbytes, total) for what, nbytes, total in told if what == phase]
        assert own[0][0] == 0 and {total for _, total in own} == {sum(nbytes for nbytes, _ in own)}


def test_a_wait_in_two_parts_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    progress = ByteProgress("checking a", quiet=True)
    progress.follow("writing a", 0, 4 << 30)
    clock.now += 1
    progress.follow("writing a", 1 << 30, 4 << 30)
    assert progress.words() == "writing a: 1 GiB of 4 GiB (25%), 1 GiB/s, 3 s left"
    progress.follow("checking a", 0, 2 << 30)
    clock.now += 2
    progress.follow("checking a", 1 << 30, 2 << 30)
    assert progress.words() == "checking a: 1 GiB of 2 GiB (50%), 512 MiB/s, 2 s left"
