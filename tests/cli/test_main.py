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


#: What a person who asks for help waits for, besides click and the interpreter.
NEEDED_FOR_HELP = [
    *("ckptkit", "ckptkit.cli", "ckptkit.cli.command", "ckptkit.cli.main", "ckptkit.cli.options", "ckptkit.errors"),
    *("ckptkit.record", "ckptkit.report", "ckptkit.report.encoding", "ckptkit.report.sink"),
]
#: What no quick command needs: what is for others, what only errors, findings and large files need, and slow modules.
UNNEEDED = [
    *("base64", "click.shell_completion", "ctypes", "difflib", "shutil", "subprocess", "tempfile"),
    *("ckptkit.card.facts", "ckptkit.report.fix_text", "ckptkit.report.machine", "ckptkit.report.matrix"),
    *("ckptkit.hub", "ckptkit.kernels", "ckptkit.page", "ckptkit.views.skip_table", "tomllib", "xml"),
]
#: Runs a command; then says what was loaded, which classes had their ``__init__`` compiled, how many objects the end of
#: the process does not look through, and after how many new ones garbage is looked for.
START = """
import atexit, gc, json, sys
before = set(sys.modules)
def tell():
    loaded = sorted(set(sys.modules) - before)
    print("START", json.dumps([loaded, compiled, gc.get_freeze_count(), gc.get_threshold()[0]]), flush=True)
atexit.register(tell)
import ckptkit.record
compiled, write = [], ckptkit.record._initializer
def counted(cls):
    compiled.append(cls.__name__)
    return write(cls)
ckptkit.record._initializer = counted
sys.argv[0] = "ckptkit"
from ckptkit.cli.main import main
main()
"""


def started(*arguments: str) -> tuple[list[str], list[str], int, int]:
    """What :data:`START` says of a command that ends well."""
    done = run_process(*arguments, code=START)
    assert done.returncode == 0, done.stderr
    loaded, compiled, frozen, threshold = json.loads(done.stdout.rpartition("START ")[2])
    return loaded, compiled, frozen, threshold


def test_help_needs_click_and_next_to_nothing_of_ours() -> None:
    loaded, compiled, _, _ = started("--help")
    assert [name for name in loaded if name.partition(".")[0] == "ckptkit"] == NEEDED_FOR_HELP
    assert compiled == [] and "json" not in loaded and "rich" not in loaded


@pytest.mark.parametrize(
    ("words", "also"),
    [
        ("inspect @", ["ckptkit.checks.registry", "concurrent", "hashlib", "logging"]),
        ("validate @", ["ckptkit.conversion", "concurrent", "hashlib", "logging"]),
        ("convert quark→ct @ out --dry-run", ["ckptkit.storage.replace", "concurrent", "logging"]),
        ("convert quark→ct @ out", ["ckptkit.storage.replace"]),
    ],
)
def test_a_quick_command_does_only_what_it_needs(
    words: str, also: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = str(REAL / "llama/quark-fp8-kv")
    loaded, compiled, frozen, threshold = started(*(small if word == "@" else word for word in words.split()))
    unneeded = (*UNNEEDED, *also)
    assert [name for name in loaded if any(f"{name}.".startswith(f"{one}.") for one in unneeded)] == []
    assert len(compiled) <= 2, "each takes as long as a hundred calls; see ckptkit.record"
    assert frozen > 10_000 and threshold >= 100_000


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
