"""The command line as a whole: help, exit codes, errors in words, and what is imported for what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import REAL, Run, run_process

HEAVY = (
    "torch",
    "transformers",
    "huggingface_hub",
    "numpy",
    "safetensors",
    "jsonschema",
    "triton",
    "compressed_tensors",
)
#: Runs a command and then prints which of the heavy libraries are loaded.
PROBE = """
import json, sys
sys.argv = ["ckptkit", *sys.argv[1:]]
from ckptkit.cli import main
try:
    main.main()
except SystemExit as stop:
    code = stop.code or 0
print("LOADED", json.dumps([code, [name for name in {heavy!r} if name in sys.modules]]))
""".replace("{heavy!r}", repr(HEAVY))


def test_help_lists_every_command(run: Run) -> None:
    from ckptkit.cli.main import COMMANDS, cli

    outcome = run("--help")
    assert outcome.code == 0
    for name, summary in COMMANDS.items():
        assert name in outcome.out
        assert summary in outcome.out
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert run(name, "--help").code == 0


def test_version(run: Run) -> None:
    from ckptkit import __version__

    assert run("--version").out.strip().endswith(__version__)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["inspect", str(REAL / "llama/quark-fp8-kv")],
        ["inspect", "--json", str(REAL / "llama/llmcompressor-dynamic-sharded")],
        ["validate", str(REAL / "llama/quark-ptpc")],
        ["convert", "quark→ct", str(REAL / "llama/quark-ptpc"), "{tmp}/out"],
        ["convert", "SRC-IS-MISSING", "{tmp}/out", "--to", "ct"],
        ["diff", str(REAL / "llama/quark-ptpc"), str(REAL / "llama/llmcompressor-dynamic")],
    ],
    ids=["help", "inspect", "inspect-json", "validate", "convert", "refusal", "diff"],
)
def test_local_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = run_process(*[argument.replace("{tmp}", str(tmp_path)) for argument in arguments], code=PROBE)
    code, loaded = json.loads(done.stdout.rpartition("LOADED ")[2])
    assert loaded == []
    assert code == (2 if "SRC-IS-MISSING" in arguments else 0), done.stderr


def test_importing_the_package_imports_nothing_of_it() -> None:
    done = run_process(code="import sys, ckptkit; print([m for m in sys.modules if m.startswith('ckptkit.')])")
    assert done.stdout.strip() == "[]"


def test_unknown_command_is_a_usage_error(run: Run) -> None:
    outcome = run("transmogrify")
    assert outcome.code == 2
    assert "transmogrify" in outcome.err


def test_errors_are_words_not_tracebacks(run: Run, tmp_path: Path) -> None:
    outcome = run("inspect", tmp_path / "nowhere")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "does not exist" in outcome.err
    assert "Traceback" not in outcome.err


def test_output_survives_a_terminal_without_the_arrow(tmp_path: Path) -> None:
    done = run_process(
        "convert", "quark2ct", REAL / "llama/quark-ptpc", tmp_path / "out", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert done.returncode == 0, done.stderr
    assert "written" in done.stdout


CLOSED_PIPE = """
import subprocess, sys
command = [sys.executable, "-m", "ckptkit", "inspect", "--tensors", sys.argv[1]]
reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
reader.stdout.close()
print(reader.stderr.read().decode())
"""


def test_a_closed_pipe_is_not_an_error() -> None:
    done = run_process(REAL / "qwen3_moe/llmcompressor-dynamic", code=CLOSED_PIPE)
    assert done.returncode == 0
    assert "Traceback" not in done.stdout


def test_as_extension_of_the_hubs_command_it_calls_itself_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptkit.cli import main

    monkeypatch.setattr("sys.argv", ["/usr/bin/hf-ckptkit"])
    assert main._program_name() == "hf ckptkit"
