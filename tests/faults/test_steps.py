"""What a piece of work leaves when it is stopped, or fails, at any of its steps: see :mod:`tests.faults.steps`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.storage.replace import replacing
from ckptkit.storage.staging import DurabilityWarning
from tests.faults.steps import Shim

ROOT = Path(__file__).resolve().parents[2]


def walked(module: str, *arguments: str) -> dict[str, int]:
    """Run one of the walks in a process of its own; what it counted."""
    command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    counted: dict[str, int] = json.loads(done.stdout)
    return counted


def test_replacing_files_survives_any_number_of_stops() -> None:
    counted = walked("walk_replace")
    assert counted["stopped"] > 500 and counted["states"] > 20 and counted["deepest"] > 1
    assert counted["failed"] > 60 and counted["failed and stopped"] > 100


def test_a_fix_through_the_writer_survives_any_number_of_stops() -> None:
    counted = walked("walk_fix")
    assert counted["stopped"] > 500 and counted["states"] > 8 and counted["failed"] > 40


def test_small_files_are_old_or_new_after_any_number_of_stops() -> None:
    """Hooks, the manifest of hf, the card: installed, removed or written; stopped, failing, interrupted, by halves."""
    counted = walked("walk_small")
    assert len(counted) == 25 and min(counted.values()) >= 3 and sum(counted.values()) > 700


def test_new_folders_appear_whole_or_not_at_all() -> None:
    """Conversions that copy and that compute, and a fix into a new folder: stopped, failing, interrupted, by halves."""
    counted = walked("walk_convert", "1")
    assert len(counted) == 12 and min(counted.values()) >= 50 and sum(counted.values()) > 1000


def test_what_is_renamed_is_durable_before(tmp_path: Path) -> None:
    """The order that a power cut asks for: files, folders, marker, then the renames, then the marker goes."""
    root = tmp_path / "checkpoint"
    root.mkdir()
    (root / "a.safetensors").write_bytes(b"old")
    with Shim().installed() as shim:
        counting = os.fsync
        os.fsync = lambda handle: (  # type: ignore[assignment]
            shim.steps.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{handle}'))}")
        )
        try:
            with replacing(root) as staged:
                for name in ("a.safetensors", "config.json"):
                    os.close(os.open(staged / name, os.O_WRONLY | os.O_CREAT))
        finally:
            os.fsync = counting
    beside = ".checkpoint.ckptkit-replace"
    order = [step for step in shim.steps if step.split()[0] in ("sync", "rename", "replace", "unlink")]
    assert order[:8] == [
        "sync a.safetensors",
        "sync config.json",
        f"sync {beside}",
        "sync .complete.new",
        "rename .complete.new .complete",
        f"sync {beside}",
        f"sync {tmp_path.name}",
        "replace a.safetensors a.safetensors",
    ]
    assert order[8:12] == [
        "replace config.json config.json",
        "sync checkpoint",
        "unlink .complete",
        f"sync {beside}",
    ]


def test_a_sync_that_fails_at_the_end_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "checkpoint"
    root.mkdir()
    (root / "config.json").write_bytes(b"old")
    real = os.fsync

    def fsync(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}") == str(root):
            raise OSError(5, "Input/output error")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        told = r"in place, but the disk has not confirmed it: .*Input/output error"
        with pytest.warns(DurabilityWarning, match=told), replacing(root) as staged:
            (staged / "config.json").write_bytes(b"new")
    assert (root / "config.json").read_bytes() == b"new"
    with replacing(root) as staged:
        (staged / "config.json").write_bytes(b"newer")
    assert (root / "config.json").read_bytes() == b"newer" and os.listdir(tmp_path) == ["checkpoint"]
