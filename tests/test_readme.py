"""The README is a program: its commands run, its transcript is what is printed, its Python works."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import REAL, run_process
from tests.damage import BLOCK, load, plain_fp8
from tests.formats.test_microscaling import deepseek

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: The models that the README speaks of, and the fixtures that stand for them.
MODELS = {
    "Llama-3.1-8B-FP8-KV": "llama/quark-fp8-kv",
    "Llama-3.1-8B-FP8": "llama/llmcompressor-fp8",
    "Llama-3.1-8B": "llama/bf16",
}
#: And one that the exporters of blocks do not write without a GPU.
BLOCKS = "DeepSeek-V3"
PACKED = "DeepSeek-V4"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the README's models exist."""
    for name, fixture in MODELS.items():
        shutil.copytree(REAL / fixture, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_run(workplace: Path) -> None:
    draft = load(BLOCK)
    plain_fp8(draft)
    draft.write(workplace / BLOCKS)
    deepseek(14).write(workplace / PACKED)
    commands = [line.partition("  #")[0] for block in blocks("bash") for line in block.splitlines()]
    ours = [shlex.split(command)[1:] for command in commands if command.startswith("ckptkit ")]
    assert len(ours) >= 6
    for arguments in ours:
        if arguments[0] == "convert":
            shutil.rmtree("out", ignore_errors=True)
        if arguments == ["diff", "Llama-3.1-8B-FP8-KV", "out"]:
            shutil.rmtree("out", ignore_errors=True)
            assert run_process("convert", "quark→ct", "Llama-3.1-8B-FP8-KV", "out").returncode == 0
        done = run_process(*arguments)
        differs = arguments == ["diff", "Llama-3.1-8B", "Llama-3.1-8B-FP8"]
        assert done.returncode == int(differs), f"{arguments}: {done.stdout}{done.stderr}"


def test_transcript_is_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (transcript,) = blocks("text")
    command, _, expected = transcript.partition("\n")
    done = run_process(*shlex.split(command.removeprefix("$ ckptkit ")))
    assert [line.rstrip() for line in done.stdout.splitlines()] == expected.splitlines()


def test_python_runs(workplace: Path) -> None:
    (code,) = blocks("python")
    done = run_process(code=code)
    assert done.returncode == 0, done.stderr
    assert Path("out/config.json").exists()


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", README))
    assert {"demo", "test", "quality", "style", "bench", "interop", "fixtures"} <= named <= targets


def test_what_it_points_to_exists() -> None:
    for path in re.findall(r"`((?:tests|docs|fixtures|benchmarks)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
