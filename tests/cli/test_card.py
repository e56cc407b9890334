"""``ckptkit card``: what it refuses, and what ``--check`` says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import REAL, Run

MODEL = REAL / "llama" / "quark-ptpc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def test_check_tells_a_missing_card_from_a_stale_one(run: Run, folder: Path) -> None:
    card = folder / "README.md"
    done = run("card", folder, "--check")
    assert (done.code, done.out) == (1, f"{card}: missing\n")
    card.write_text("# model\n")
    done = run("card", folder, "--check")
    assert (done.code, done.out) == (1, f"{card}: not up to date\n")
    assert run("card", folder).code == 0
    done = run("card", folder, "--check")
    assert (done.code, done.out) == (0, f"{card}: up to date\n")


def test_print_and_check_exclude_each_other(run: Run, folder: Path) -> None:
    done = run("card", folder, "--print", "--check")
    assert (done.code, done.out) == (2, "")
    assert "give one of them" in done.err


@pytest.mark.parametrize("place", ["hf://org/model", "s3://bucket/model", "org/model"])
def test_a_card_needs_a_folder_here(run: Run, place: str) -> None:
    """Asked before anything is fetched."""
    done = run("card", place)
    assert done.code == 2
    assert f"{place} is not a folder on this machine" in done.err
    assert ("hf download" in done.err) == place.startswith("hf://")
