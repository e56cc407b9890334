"""What lies below a folder: checkpoints in it, each a source of its own, and the hub cache's snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit.errors import UsageError
from ckptkit.storage.below import Below, FolderBelow, checkpoints_below, hint, snapshot_of
from ckptkit.storage.locate import folders_of_checkpoints
from ckptkit.storage.source import FileEntry, LocalSource

COMMITS = ("a" * 40, "b" * 40, "c" * 40)


def test_a_checkpoint_is_a_folder_that_holds_weight_files_itself() -> None:
    entries = [
        FileEntry("z/model-2.safetensors", 20),
        FileEntry("z/model-1.safetensors", 10),
        FileEntry("a/b/model.safetensors", 7),
        FileEntry("a/config.json", 5),
        FileEntry("own.safetensors", 3),
    ]
    assert checkpoints_below(entries) == (Below("a/b", 1, 7), Below("z", 2, 30))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("a", "a checkpoint lies in it: give models/a"),
        ("ab", "2 checkpoints lie in it (a, b): give one of them, models/a"),
        ("abcd", "4 checkpoints lie in it (a, b, c, d): give one of them, models/a"),
        ("abcde", "5 checkpoints lie in it (a, b, c, d, ...): give one of them, models/a"),
    ],
)
def test_a_hint_names_a_few(names: str, said: str) -> None:
    assert hint("models", tuple(Below(name, 1, 1) for name in names)) == said


def test_a_folder_below_is_a_source_of_its_own(tmp_path: Path) -> None:
    for name, data in {"one/config.json": b"{}", "one/sub/x.bin": b"0123456789", "onemore/y": b"", "z": b"-"}.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    source = LocalSource(tmp_path)
    below = FolderBelow(source, "one")
    assert below.label == f"{tmp_path}/one"
    assert sorted(below.files()) == [FileEntry("config.json", 2), FileEntry("sub/x.bin", 10)]
    assert below.read("sub/x.bin") == b"0123456789"
    assert below.read("sub/x.bin", 3) == b"3456789"
    assert below.read("sub/x.bin", 3, 4) == b"3456"
    assert below.local_path("config.json") == tmp_path / "one" / "config.json"
    assert below.state("config.json") == source.state("one/config.json") is not None
    assert below.state("config.json") != below.state("sub/x.bin")
    assert (below.traits, below.traffic, below.faults()) == (source.traits, source.traffic, ())


def test_a_folder_stands_for_itself_or_for_what_lies_in_it(tmp_path: Path) -> None:
    for name in ("b", "a/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").touch()
    assert folders_of_checkpoints(tmp_path) == (str(tmp_path / "a/inner"), str(tmp_path / "b"))
    assert folders_of_checkpoints(tmp_path / "b") == (str(tmp_path / "b"),)
    (tmp_path / "empty").mkdir()
    assert folders_of_checkpoints(tmp_path / "empty") == (str(tmp_path / "empty"),)
    (tmp_path / "model.safetensors").touch()
    assert folders_of_checkpoints(tmp_path) == (str(tmp_path),)


def cached(folder: Path, *commits: str, main: bytes | None = None) -> Path:
    """The folder of a repository in the hub library's cache."""
    repo = folder / "models--org--name"
    for commit in commits:
        (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots").mkdir(parents=True, exist_ok=True)
    (repo / "snapshots" / "note.txt").touch()
    if main is not None:
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_bytes(main)
    return repo


def test_the_snapshot_that_main_names_or_the_only_one(tmp_path: Path) -> None:
    first, second, third = COMMITS
    named = cached(tmp_path / "named", first, second, third, main=f"{second}\n".encode())
    assert snapshot_of(named) == named / "snapshots" / second
    alone = cached(tmp_path / "alone", third)
    assert snapshot_of(alone) == alone / "snapshots" / third
    elsewhere = cached(tmp_path / "elsewhere", first, main=second.encode())
    assert snapshot_of(elsewhere) == elsewhere / "snapshots" / first


def test_another_folder_stands_for_itself(tmp_path: Path) -> None:
    assert snapshot_of(tmp_path) == tmp_path
    (tmp_path / "models--org--name").mkdir()
    assert snapshot_of(tmp_path / "models--org--name") == tmp_path / "models--org--name"
    (tmp_path / "model" / "snapshots" / COMMITS[0]).mkdir(parents=True)
    assert snapshot_of(tmp_path / "model") == tmp_path / "model"


@pytest.mark.parametrize(
    ("commits", "main", "said", "help_text"),
    [
        ((), None, "no snapshot", "download the model again"),
        (
            COMMITS[:2],
            None,
            "2 snapshots, and refs/main names none of them",
            f"give one of them: @/snapshots/{'a' * 40}",
        ),
        (
            COMMITS,
            b"d" * 40,
            "3 snapshots, and refs/main names none of them",
            f"give one of them: @/snapshots/{'a' * 40}",
        ),
    ],
)
def test_where_nothing_says_which_snapshot(
    commits: tuple[str, ...], main: bytes | None, said: str, help_text: str, tmp_path: Path
) -> None:
    repo = cached(tmp_path, *commits, main=main)
    with pytest.raises(UsageError) as refused:
        snapshot_of(repo)
    assert str(refused.value).startswith(f"{repo} holds {said}")
    assert refused.value.help == help_text.replace("@", str(repo))


def test_a_reference_that_is_no_text_is_an_error_of_ours(tmp_path: Path) -> None:
    repo = cached(tmp_path, COMMITS[0], main=b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be looked at"):
        snapshot_of(repo)
