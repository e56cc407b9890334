"""The page of the docs about pages: its commands and its Python run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import REAL, run_process

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "report.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(REAL / "llama" / "quark-fp8-kv", tmp_path / "Llama-3.1-8B-FP8-KV")
    shutil.copytree(REAL / "llama" / "bf16", tmp_path / "Llama-3.1-8B")
    monkeypatch.chdir(tmp_path)


def block(language: str) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (only,) = found
    return only


def test_commands_run() -> None:
    for line in block("sh").splitlines():
        done = run_process(*shlex.split(line.partition("  #")[0])[1:])
        assert done.returncode == 0, done.stderr
    assert {path.name for path in Path().glob("*.html")} == {"report.html", "errors.html", "plan.html"}


def test_python_runs() -> None:
    done = run_process(code=block("python"))
    assert done.returncode == 0 and Path("from-python.html").exists(), done.stderr


def test_pictures_exist() -> None:
    assert all((DOCS / picture).is_file() for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT))
