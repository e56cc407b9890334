"""The page of the docs about the golden check, golden.md, is played where torch and Triton are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit.kernels.golden.session import find_machine
from fixtures import demo
from tests import pages


def test_its_commands_answer_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, lines that ask for one are refused for that and for nothing else."""
    demo.build(tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    gpu = find_machine().gpu is not None
    wrong = list(pages.play(pages.ROOT / "docs" / "golden.md", {"PYTHONPATH": str(pages.ROOT)}))
    left = [what for what in wrong if not ("--require-gpu" in what and "no GPU to check" in what)]
    if gpu:  # what the page shows is the answer of a machine without one
        left = [what for what in wrong if "NO GPU" not in what]
    assert left == [] and len(wrong) == (1 if gpu else 3), wrong
