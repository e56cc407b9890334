"""Replacing files of a folder: whole or not at all, and finished by the next run after an interruption."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptkit.errors import OutputError
from ckptkit.storage import replace
from ckptkit.storage.replace import finish_interrupted, replacing

OLD = {"a.safetensors": b"old a", "b.safetensors": b"old b", "config.json": b"old config", "README.md": b"stays"}
NEW = {"a.safetensors": b"new a", "b.safetensors": b"new b", "config.json": b"new config"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "checkpoint"
    root.mkdir()
    for name, data in OLD.items():
        (root / name).write_bytes(data)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stage(folder: Path) -> None:
    for name, data in NEW.items():
        (folder / name).write_bytes(data)


def test_new_files_take_the_places_of_old_ones(folder: Path) -> None:
    os.chmod(folder / "config.json", 0o640)
    with replacing(folder) as staged:
        stage(staged)
    assert contents(folder) == {**OLD, **NEW}
    assert (folder / "config.json").stat().st_mode & 0o777 == 0o640
    assert os.listdir(folder.parent) == ["checkpoint"]


def test_a_failure_while_staging_changes_nothing(folder: Path) -> None:
    with pytest.raises(RuntimeError), replacing(folder) as staged:
        stage(staged)
        raise RuntimeError("disk on fire")
    assert contents(folder) == OLD
    assert os.listdir(folder.parent) == ["checkpoint"]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_an_interruption_between_renames_is_finished_by_the_next_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    real, done = os.replace, []

    def stop_after_some(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target.name)
        real(source, target)

    monkeypatch.setattr(replace.os, "replace", stop_after_some)
    with pytest.raises(KeyboardInterrupt), replacing(folder) as staged:
        stage(staged)
    assert done == ["a.safetensors", "b.safetensors", "config.json"][:moves]
    monkeypatch.setattr(replace.os, "replace", real)
    assert finish_interrupted(folder) == len(NEW) - moves
    assert contents(folder) == {**OLD, **NEW}
    assert os.listdir(folder.parent) == ["checkpoint"]


def test_what_was_not_complete_is_discarded(folder: Path) -> None:
    leftover = folder.parent / ".checkpoint.ckptkit-replace-1-dead"
    leftover.mkdir()
    stage(leftover)
    assert finish_interrupted(folder) == 0
    assert contents(folder) == OLD and not leftover.exists()


def test_a_folder_that_another_process_changes_is_left_alone(folder: Path) -> None:
    with replacing(folder) as staged:
        stage(staged)
        with pytest.raises(OutputError, match="another process"), replacing(folder):
            pass
    assert contents(folder) == {**OLD, **NEW}


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "blob"
    elsewhere.write_bytes(b"shared")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="symbolic link"), replacing(folder) as staged:
        stage(staged)
    assert elsewhere.read_bytes() == b"shared" and contents(folder)["a.safetensors"] == b"old a"


def test_the_hub_cache_is_refused(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    with pytest.raises(OutputError, match="cache"), replacing(snapshot):
        pass


def test_a_folder_of_the_same_beginning_is_not_ours(folder: Path) -> None:
    other = folder.parent / ".checkpoint-2.ckptkit-replace-1-dead"
    other.mkdir()
    finish_interrupted(folder)
    assert other.exists()
