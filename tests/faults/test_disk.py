"""Disks that fill up, limits on files, and mounts that cannot be written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import OutputError
from ckptkit.storage import staging, writer
from tests.faults.snapshot import snapshot

SOURCE = Path(__file__).resolve().parents[2] / "fixtures" / "real" / "llama" / "quark-fp8-kv"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, less than the fixture's shard; skipped where mounting is not allowed."""
    point = tmp_path / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(point)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root")
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_a_disk_that_is_too_small_is_refused(small_disk: Path) -> None:
    with pytest.raises(OutputError, match="too little room"):
        ckptkit.convert(SOURCE, small_disk / "out", to="ct")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("reserve", [True, False])
def test_a_disk_that_fills_up_meanwhile(reserve: bool, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes the room after it was checked; seen when blocks are reserved, or else while they fill."""
    monkeypatch.setattr(staging, "_check_room", lambda *arguments: None)
    if not reserve:
        monkeypatch.setattr(writer, "allocate", os.ftruncate)
    with pytest.raises(OutputError, match="the disk is full"):
        ckptkit.convert(SOURCE, small_disk / "out", to="ct")
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_can_only_be_read(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match="cannot be written"):
        ckptkit.convert(SOURCE, small_disk / "out", to="ct")


def test_the_mount_point_itself_is_refused(small_disk: Path) -> None:
    with pytest.raises(OutputError, match="is a mount point"):
        ckptkit.convert(SOURCE, small_disk, to="ct")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_limit_on_the_size_of_files(jobs: int, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    before = snapshot(tmp_path)
    command = [
        sys.executable,
        "-m",
        "ckptkit",
        "convert",
        "quark→ct",
        str(SOURCE),
        str(tmp_path / "out"),
        "-j",
        str(jobs),
    ]
    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "writing model.safetensors failed: File too large" in result.stderr
    assert snapshot(tmp_path) == before
