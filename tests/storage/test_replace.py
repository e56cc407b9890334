"""Replacing files of a folder: whole or not at all, and finished by the next run after an interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.errors import OutputError
from ckptkit.storage import replace
from ckptkit.storage.file_names import staged_folder
from ckptkit.storage.replace import finish_interrupted, replacing, unfinished

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


def staged_beside(folder: Path) -> Path:
    """What a process that was killed leaves before it declares the set complete."""
    leftover = folder.parent / f".{folder.name}.ckptkit-replace"
    leftover.mkdir()
    stage(leftover)
    return leftover


def interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch, moves: int = 0) -> list[str]:
    """Replace the files, and stop like a power cut after so many renames; the names that were moved."""
    real, done = os.replace, list[str]()

    def stop_after_some(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target.name)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(replace.os, "replace", stop_after_some)
        with pytest.raises(KeyboardInterrupt), replacing(folder) as staged:
            stage(staged)
    return done


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
    done = interrupt(folder, monkeypatch, moves)
    assert done == ["a.safetensors", "b.safetensors", "config.json"][:moves]
    assert unfinished(folder) is not None
    assert finish_interrupted(folder) == len(NEW) - moves
    assert contents(folder) == {**OLD, **NEW}
    assert os.listdir(folder.parent) == ["checkpoint"]


def test_what_was_not_complete_is_discarded(folder: Path) -> None:
    leftover = staged_beside(folder)
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
    with pytest.raises(OutputError, match="belongs to the hub's cache") as error, replacing(snapshot):
        pass
    assert error.value.help == "give a new folder as the output instead"


def test_a_folder_of_the_same_beginning_is_not_ours(folder: Path) -> None:
    other = folder.parent / ".checkpoint-2.ckptkit-replace"
    other.mkdir()
    finish_interrupted(folder)
    assert other.exists()


def test_files_that_came_later_are_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(folder, monkeypatch)
    (folder / "a.safetensors").write_bytes(b"a fresh export")
    with pytest.raises(OutputError, match=r"a\.safetensors has changed since a fix was interrupted") as error:
        finish_interrupted(folder)
    assert error.value.help == f"remove {staged_folder(folder)} to keep what is there now"
    assert contents(folder) == {**OLD, "a.safetensors": b"a fresh export"}


def test_what_was_staged_for_another_folder_of_the_name_is_not_moved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(folder, monkeypatch)
    folder.rename(folder.parent / "old")
    folder.mkdir()
    (folder / "config.json").write_bytes(b"another model")
    assert unfinished(folder) is None and finish_interrupted(folder) == 0
    with pytest.raises(OutputError, match="in the way"), replacing(folder):
        pass
    assert contents(folder) == {"config.json": b"another model"}


def test_a_strangers_staged_folder_writes_nothing(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (folder / "x").symlink_to(victim)
    leftover = staged_beside(folder)
    (leftover / "x").mkdir()
    (leftover / "x" / "authorized_keys").write_bytes(b"mine")
    for marker in ("", "{}", '{"target": 2, "files": {"x/authorized_keys": null}}'):
        (leftover / ".complete").write_text(marker)
        assert finish_interrupted(folder) == 0
        assert unfinished(folder) is None
    assert list(victim.iterdir()) == [] and contents_of_files(folder) == OLD


def contents_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_linked_folder_is_not_written_into(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (folder / "x").symlink_to(victim)
    with pytest.raises(OutputError, match="symbolic link"), replacing(folder) as staged:
        (staged / "x").mkdir()
        (staged / "x" / "config.json").write_bytes(b"new")
    assert list(victim.iterdir()) == []


_WITH_SIGNALS = """
import os, signal, sys
from pathlib import Path
from ckptkit.storage import replace

real = os.replace

def with_signal(source, target):
    os.kill(os.getpid(), signal.SIGINT)
    real(source, target)

# What starts the tests in the background has a child ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
replace.os.replace = with_signal
folder = Path(sys.argv[1])
with replace.replacing(folder) as staged:
    for path in folder.iterdir():
        (staged / path.name).write_bytes(b"new")
"""


def test_signals_wait_until_every_file_is_in_place(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITH_SIGNALS, str(folder)], capture_output=True, text=True, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    assert set(contents(folder).values()) == {b"new"}
    assert os.listdir(folder.parent) == ["checkpoint"]
