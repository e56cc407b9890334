"""Running the command line: in this process for speed, in its own for what only a process shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptkit import __version__
from ckptkit.cli import main as cli_main
from fixtures import terminal

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object without what the command line adds to it: the schema's id and the version."""
        found: dict[str, Any] = self.json
        assert found.pop("$schema").startswith("urn:ckptkit:schema:") and found.pop("ckptkit") == __version__
        return found


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``ckptkit ARGUMENTS`` in this process, through the same ``main`` that the console script calls."""
    from ckptkit.report import text

    def call(*arguments: str | Path) -> Outcome:
        text.console.cache_clear()
        monkeypatch.setattr(sys, "argv", ["ckptkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli_main.main()
        text.console.cache_clear()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call


def run_process(
    *arguments: str | Path, code: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ckptkit ARGUMENTS``, or ``python -c CODE``, in a process of its own."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "ckptkit"]), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, **environment}, check=False
    )


def on_terminal(
    *arguments: str | Path,
    code: Path | None = None,
    columns: int = 80,
    term: str = "xterm-256color",
    **environment: str,
) -> str:
    """What ``ckptkit ARGUMENTS``, or the Python file ``code``, writes to a terminal of so many columns."""
    command = [sys.executable, *([str(code)] if code else ["-m", "ckptkit"]), *map(str, arguments)]
    status, shown = terminal.on_terminal(command, columns=columns, environment={"TERM": term, **environment})
    assert status in (0, 1, 2)
    return shown
