"""Staging folders: what is refused, what is cleaned up, and what is never touched."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptkit.errors import OutputError
from ckptkit.storage import destination
from ckptkit.storage import staging as module
from ckptkit.storage.copy import Method
from ckptkit.storage.staging import check_destination, remove_stale, staging
from tests.faults.snapshot import snapshot

HUGE = 1 << 62
Arrange = Callable[[Path], Path]


def new_folder(root: Path) -> Path:
    return root / "new"


def not_empty(root: Path) -> Path:
    (root / "full").mkdir()
    (root / "full" / "notes.txt").write_text("mine")
    return root / "full"


def a_file(root: Path) -> Path:
    (root / "file").write_text("mine")
    return root / "file"


def a_link_to_an_empty_folder(root: Path) -> Path:
    (root / "empty").mkdir()
    (root / "link").symlink_to("empty")
    return root / "link"


def a_dangling_link(root: Path) -> Path:
    (root / "dangling").symlink_to("nowhere")
    return root / "dangling"


def inside_the_source(root: Path) -> Path:
    return root / "source" / "out"


def inside_the_source_by_a_link(root: Path) -> Path:
    (root / "elsewhere").symlink_to("source/original")
    return root / "elsewhere" / "out"


def the_source_itself(root: Path) -> Path:
    return root / "x" / ".." / "source"


def without_a_parent(root: Path) -> Path:
    return root / "missing" / "out"


def below_a_file(root: Path) -> Path:
    return a_file(root) / "out"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "original").mkdir(parents=True)
    (folder / "original" / "params.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("arrange", "complaint", "help"),
    [
        (not_empty, "is not empty", "choose a new folder; nothing is ever overwritten"),
        (a_file, "exists and is not a folder", "choose another destination"),
        (a_link_to_an_empty_folder, "is a symbolic link", "choose a new folder, or the one it leads to"),
        (a_dangling_link, "is a symbolic link", "choose a new folder, or the one it leads to"),
        (inside_the_source, "lies inside the source folder", "choose a folder outside of it"),
        (inside_the_source_by_a_link, "lies inside the source folder", "choose a folder outside of it"),
        (the_source_itself, "is not empty", "choose a new folder; nothing is ever overwritten"),
        (without_a_parent, "does not exist", "create it first"),
        (below_a_file, "does not exist", "create it first"),
    ],
)
def test_refused_before_anything_is_written(
    arrange: Arrange, complaint: str, help: str, tmp_path: Path, source: Path
) -> None:
    (tmp_path / "x").mkdir()
    destination = arrange(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(OutputError) as caught:
        check_destination(destination, source, 10)
    assert caught.value.message.endswith(f" {complaint}") and caught.value.help == help
    assert snapshot(tmp_path) == before


def test_a_folder_around_the_source_is_not_empty_and_refused_even_if_it_were(tmp_path: Path, source: Path) -> None:
    with pytest.raises(OutputError, match="is not empty"):
        check_destination(tmp_path, source, 10)
    assert module._holds(tmp_path, source)
    assert not module._holds(source, tmp_path)
    assert not module._holds(tmp_path / "sourc", source)


def test_too_little_room(tmp_path: Path, source: Path) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match="too little room") as caught:
        check_destination(tmp_path / "out", source, HUGE)
    assert caught.value.faults[0].expected == f"{HUGE:,} bytes"
    assert snapshot(tmp_path) == before


def test_shared_blocks_need_no_room(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = source / "original" / "params.json"
    with pytest.raises(OutputError, match="too little room"):
        check_destination(tmp_path / "out", source, HUGE, shareable=HUGE - 10, sample=sample)
    monkeypatch.setattr(destination, "shares_blocks", lambda sample, folder: folder == tmp_path)
    check_destination(tmp_path / "out", source, HUGE, shareable=HUGE - 10, sample=sample)
    with pytest.raises(OutputError, match="too little room"):
        check_destination(tmp_path / "out", source, 2 * HUGE, shareable=HUGE, sample=sample)


def test_a_folder_that_may_not_be_written(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        check_destination(tmp_path / "out", source, 10)


def test_a_read_only_folder(tmp_path: Path, source: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="cannot be written"):
        check_destination(parent / "out", source, 10)


def test_a_mount_point_cannot_be_replaced(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "volume")
    with pytest.raises(OutputError, match="is a mount point"):
        check_destination(tmp_path / "volume", source, 10)
    check_destination(tmp_path / "volume" / "out", source, 10)


@pytest.mark.parametrize("name", ["out", "mödel-重み", "a[b]*?", "重" * 85, "x" * 255])
def test_success_leaves_the_destination_and_nothing_else(name: str, tmp_path: Path) -> None:
    with staging(tmp_path / name) as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_text("content")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "file").read_text() == "content"


def test_an_empty_destination_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with staging(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OutputError("full"), KeyboardInterrupt(), MemoryError()])
def test_any_failure_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(type(error)), staging(tmp_path / "out") as folder:
        (folder / "nested").mkdir()
        (folder / "nested" / "file").touch()
        raise error
    assert snapshot(tmp_path) == before


def test_a_second_interrupt_does_not_stop_the_cleaning_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.rmtree
    interrupts = [KeyboardInterrupt(), KeyboardInterrupt()]

    def interrupted(folder: Path, ignore_errors: bool) -> None:
        if interrupts:
            raise interrupts.pop()
        real(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "out") as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def as_file(destination: Path) -> None:
    destination.write_text("theirs")


def as_full_folder(destination: Path) -> None:
    destination.mkdir()
    (destination / "theirs").touch()


def as_link(destination: Path) -> None:
    destination.symlink_to("nowhere")


@pytest.mark.parametrize("appear", [as_file, as_full_folder, as_link])
def test_a_destination_that_appears_meanwhile_is_left_alone(appear: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="created by somebody else"), staging(tmp_path / "out") as folder:
        (folder / "ours").touch()
        appear(tmp_path / "out")
        before = snapshot(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert snapshot(tmp_path / "out") == before


def test_a_parent_that_vanishes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "parent").mkdir()
    with pytest.raises(OutputError, match="writing failed"), staging(tmp_path / "parent" / "out"):
        shutil.rmtree(tmp_path / "parent")


def test_a_dead_folder_goes_and_a_living_one_stays(tmp_path: Path) -> None:
    dead = tmp_path / ".out.ckptkit-staging-1-00000000"
    living = tmp_path / ".out.ckptkit-staging-2-00000000"
    other = tmp_path / ".outer.ckptkit-staging-3-00000000"
    for folder in (dead, living, other):
        folder.mkdir()
        (folder / "shard").touch()
    (tmp_path / ".out.ckptkit-staging-4-00000000").symlink_to("living")
    handle = os.open(living, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert remove_stale(tmp_path / "out") == [dead]
        assert not dead.exists()
        assert (living / "shard").exists()
        assert (other / "shard").exists()
    finally:
        os.close(handle)
    assert remove_stale(tmp_path / "out") == [living]


def test_our_own_folder_is_locked(tmp_path: Path) -> None:
    with staging(tmp_path / "out") as folder:
        assert remove_stale(tmp_path / "out") == []
        with staging(tmp_path / "out") as second:
            assert folder.exists()
            assert second != folder
        (tmp_path / "out").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_taken_for_dead_before_it_was_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making a folder and locking it another run may see it unlocked, and remove it."""
    made: list[Path] = []
    real = Path.mkdir

    def mkdir(folder: Path) -> None:
        real(folder)
        made.append(folder)
        if len(made) < 3:
            assert remove_stale(tmp_path / "out") == [folder]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with staging(tmp_path / "out") as folder:
        assert folder == made[2]
        assert folder.exists()
    assert len(made) == 3


def test_where_nothing_can_be_locked_nothing_is_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.EBADF, "not on this mount")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left_over = tmp_path / ".out.ckptkit-staging-1-00000000"
    left_over.mkdir()
    with staging(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [left_over.name, "out"]


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"), staging(tmp_path / "out"):
        pass


def test_the_traits_of_a_destination(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, Path]] = []

    def shares(sample: Path, folder: Path) -> bool:
        asked.append((sample, folder))
        return True

    monkeypatch.setattr(destination, "shares_blocks", shares)
    alone = destination.DestinationTraits(tmp_path)
    assert abs(alone.free - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert not alone.shares_blocks and alone.methods == tuple(Method)[1:] and asked == []
    beside = destination.DestinationTraits(tmp_path, source / "original")
    assert beside.methods == tuple(Method) and beside.shares_blocks
    assert asked == [(source / "original", tmp_path)], "found out once"
