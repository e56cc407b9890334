"""A local folder: what it lists, what it refuses to follow, what it reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptkit.errors import ContainerError, UsageError
from ckptkit.storage import source as source_module
from ckptkit.storage.source import FileEntry, LocalSource
from tests.raw import write_files


def kinds(source: LocalSource) -> list[tuple[str, str | None]]:
    """Kind and file of each fault."""
    return [(fault.kind, fault.file) for fault in source.faults()]


def test_a_listing_is_sorted_and_leaves_bookkeeping_out(tmp_path: Path) -> None:
    files = {"b.json": b"12", "a.json": b"1", "sub/deep/c": b"", ".git/HEAD": b"x", ".cache/huggingface/x": b"x"}
    source = LocalSource(write_files(tmp_path, files))
    assert source.files() == (FileEntry("a.json", 1), FileEntry("b.json", 2), FileEntry("sub/deep/c", 0))
    assert source.faults() == ()
    assert source.label == str(tmp_path)
    assert source.local_path("a.json") == tmp_path / "a.json"


@pytest.mark.parametrize("name", ["missing", "file", "nul\0"])
def test_what_is_no_folder_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"file": b""})
    with pytest.raises(UsageError) as caught:
        LocalSource(tmp_path / name)
    assert caught.value.help


def test_reads_are_whole_or_an_error(tmp_path: Path) -> None:
    source = LocalSource(write_files(tmp_path, {"a": b"0123456789"}))
    assert source.read("a") == b"0123456789"
    assert source.read("a", 4) == b"456789"
    assert source.read("a", 4, 3) == b"456"
    assert source.read("a", 10) == source.read("a", 3, 0) == b""
    with pytest.raises(ContainerError, match="ends at byte 10, before byte 11"):
        source.read("a", 4, 7)
    with pytest.raises(ContainerError, match="not among the files"):
        source.read("b")


def test_a_read_of_more_than_memory_fails_before_it_allocates(tmp_path: Path) -> None:
    source = LocalSource(write_files(tmp_path, {"a": b"0123456789"}))
    with pytest.raises(ContainerError):
        source.read("a", 0, 1 << 62)


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    source = LocalSource(write_files(tmp_path, {"a": b"0123456789"}))
    os.truncate(tmp_path / "a", 5)
    with pytest.raises(ContainerError, match="became shorter"):
        source.read("a")


def test_a_file_that_vanishes_is_noticed(tmp_path: Path) -> None:
    source = LocalSource(write_files(tmp_path, {"a": b"0123456789"}))
    (tmp_path / "a").unlink()
    with pytest.raises(ContainerError, match="No such file"):
        source.read("a")


def test_short_reads_of_the_system_are_continued() -> None:
    parts = iter([b"abc", b"de", b"f", b""])
    assert source_module._read_fully(lambda nbytes: next(parts), 6) == b"abcdef"
    parts = iter([b"abc", b""])
    assert source_module._read_fully(lambda nbytes: next(parts), 6) == b"abc"


def test_links_inside_are_followed_and_links_outside_are_not(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "checkpoint", {"a": b"1", "sub/b": b"2"})
    write_files(tmp_path, {"outside": b"secret", "checkpoint-2/c": b"secret"})
    for name, target in {
        "inside": "a",
        "sub/up": "../a",
        "chain": "inside",
        "leaves": "../outside",
        "chain-out": "leaves",
        "absolute": str(tmp_path / "outside"),
        "same-prefix": "../checkpoint-2/c",
        "nowhere": "missing",
        "folder": "sub",
        "folder-out": "..",
    }.items():
        (folder / name).symlink_to(target)
    source = LocalSource(folder)
    assert [entry.name for entry in source.files()] == ["a", "chain", "inside", "sub/b", "sub/up"]
    assert sorted(kinds(source)) == [
        ("broken-link", "nowhere"),
        ("linked-folder", "folder"),
        ("linked-folder", "folder-out"),
        ("outside-folder", "absolute"),
        ("outside-folder", "chain-out"),
        ("outside-folder", "leaves"),
        ("outside-folder", "same-prefix"),
    ]
    assert source.read("chain") == b"1"
    with pytest.raises(ContainerError, match="not among the files"):
        source.read("leaves")


def test_a_folder_given_by_a_link_is_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "real", {"a": b"1"})
    (tmp_path / "real" / "b").symlink_to("a")
    (tmp_path / "alias").symlink_to("real")
    assert [entry.name for entry in LocalSource(tmp_path / "alias").files()] == ["a", "b"]


def hub_cache(root: Path) -> Path:
    """The hub library's cache layout: each file of a snapshot is a link into blobs."""
    write_files(root, {"blobs/0a1b": b"config", "blobs/2c3d": b"shard", "refs/main": b"abc123"})
    snapshot = root / "snapshots" / "abc123"
    (snapshot / "fp8").mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0a1b")
    (snapshot / "fp8" / "model.safetensors").symlink_to("../../../blobs/2c3d")
    return snapshot


def test_a_snapshot_of_the_hub_cache_is_read_through_its_links(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "models--org--name")
    source = LocalSource(snapshot)
    assert source.faults() == ()
    assert source.files() == (FileEntry("config.json", 6), FileEntry("fp8/model.safetensors", 5))
    assert source.read("fp8/model.safetensors") == b"shard"
    assert LocalSource(snapshot / "fp8").files() == (FileEntry("model.safetensors", 5),)


def test_a_snapshot_may_link_to_its_own_blobs_only(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "models--org--name")
    write_files(tmp_path / "models--org--other", {"blobs/ff": b"secret"})
    (snapshot / "theirs").symlink_to("../../../models--org--other/blobs/ff")
    (snapshot / "ref").symlink_to("../../refs/main")
    assert sorted(kinds(LocalSource(snapshot))) == [("outside-folder", "ref"), ("outside-folder", "theirs")]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    write_files(tmp_path, {"a": b"1"})
    with open(os.fsencode(tmp_path) + b"/bad\xff", "wb"):
        pass
    source = LocalSource(tmp_path)
    assert [entry.name for entry in source.files()] == ["a"]
    assert sorted(kinds(source)) == [("broken-link", "loop"), ("file-name", "bad\\udcff"), ("not-a-file", "pipe")]
    for fault in source.faults():
        str(fault).encode("utf-8")


def test_a_folder_that_cannot_be_listed_is_a_fault_below_and_an_error_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a": b"1", "locked/b": b"1"})
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = LocalSource(tmp_path)
    assert [entry.name for entry in source.files()] == ["a"]
    assert kinds(source) == [("folder-unreadable", "locked")]
    with pytest.raises(ContainerError, match="cannot be listed"):
        LocalSource(tmp_path / "locked")


def test_a_file_that_cannot_be_examined_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a": b"1"})
    (tmp_path / "b").symlink_to("a")

    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readlink", refuse)
    source = LocalSource(tmp_path)
    assert [entry.name for entry in source.files()] == ["a"]
    assert kinds(source) == [("file-unreadable", "b")]
