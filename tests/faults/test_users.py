"""Users without privileges: trees that can only be read, files that cannot, folders that are somebody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ckptkit
from tests.damage import CT, QUARK, REAL, load
from tests.faults.as_nobody import NOBODY
from tests.faults.snapshot import snapshot

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter: those of pytest are its user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="ckptkit-users-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def theirs(place: Path) -> Path:
    """A folder of the user without privileges."""
    folder = place / "theirs"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture
def run(place: Path, theirs: Path) -> Run:
    """Run a command as that user; ``@OUT@`` is a new folder of theirs."""

    def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.faults.as_nobody", str(theirs / "out"), str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "HOME": str(theirs)}
        )

    return call


def read_only(folder: Path) -> Path:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def with_a_wrong_name(folder: Path) -> Path:
    checkpoint = load(CT)
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    return checkpoint.write(folder)


def test_a_tree_that_can_only_be_read_is_converted(place: Path, theirs: Path, run: Run) -> None:
    source = read_only(Path(shutil.copytree(REAL / QUARK, place / "source")))
    before = snapshot(source)
    done = run(source, "convert", "quark→ct", str(source), "@OUT@")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert snapshot(source) == before and ckptkit.diff(source, theirs / "out").same
    for path in (theirs / "out", *(theirs / "out").rglob("*")):
        assert path.stat().st_mode & 0o200, "its owner cannot change or remove the result"


def test_a_tree_that_can_only_be_read_is_fixed_into_a_copy(place: Path, theirs: Path, run: Run) -> None:
    source = read_only(with_a_wrong_name(place / "source"))
    before = snapshot(source)
    done = run(source, "validate", str(source), "--fix", "--output", "@OUT@")
    assert done.returncode == 0, done.stderr
    assert snapshot(source) == before and ckptkit.validate(theirs / "out").clean


@pytest.mark.parametrize("arguments", [("validate", "--fix"), ("card",)])
def test_a_tree_that_can_only_be_read_is_not_changed(arguments: tuple[str, ...], place: Path, run: Run) -> None:
    source = read_only(with_a_wrong_name(place / "source"))
    before = snapshot(place)
    done = run(source, *arguments, str(source))
    assert done.returncode == 2 and ("cannot be written" in done.stderr or "Permission denied" in done.stderr)
    assert "Traceback" not in done.stderr and "defect" not in done.stderr
    assert snapshot(place) == before


def test_a_folder_beside_which_nothing_can_be_staged(place: Path, run: Run) -> None:
    """The user may write into the folder, but not beside it."""
    source = with_a_wrong_name(place / "source")
    for path in (source, *source.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    place.chmod(0o555)
    before = snapshot(place)
    done = run(source, "validate", "--fix", str(source))
    assert done.returncode == 2 and f"{place} cannot be written" in done.stderr
    assert "give a new folder as the output instead" in done.stderr
    assert snapshot(place) == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("command", ["validate", "inspect", "convert"])
def test_a_file_that_cannot_be_read_says_nothing_about_the_checkpoint(
    name: str, command: str, place: Path, theirs: Path, run: Run
) -> None:
    source = Path(shutil.copytree(REAL / QUARK, place / "source"))
    (source / name).chmod(0)
    before = snapshot(theirs)
    arguments = ("convert", "quark→ct", str(source), "@OUT@") if command == "convert" else (command, str(source))
    done = run(source, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{name} cannot be read: Permission denied" in done.stderr and "make the file readable" in done.stderr
    assert snapshot(theirs) == before


def test_a_folder_that_cannot_be_listed(place: Path, run: Run) -> None:
    source = Path(shutil.copytree(REAL / QUARK, place / "source"))
    source.chmod(0o311)
    done = run(source, "inspect", str(source))
    assert done.returncode == 2 and "cannot be listed: Permission denied" in done.stderr


def test_a_destination_that_is_somebody_elses(place: Path, theirs: Path, run: Run) -> None:
    source = Path(shutil.copytree(REAL / QUARK, place / "source"))
    theirs.chmod(0o555)
    before = snapshot(place)
    done = run(source, "convert", "quark→ct", str(source), "@OUT@")
    assert done.returncode == 2 and f"{theirs} cannot be written" in done.stderr
    assert snapshot(place) == before
