"""One small file, written whole or not at all; what a killed process left goes, what a living one holds stays."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from ckptkit.errors import OutputError
from ckptkit.storage.beside import clear_beside, keep_beside, write_beside
from ckptkit.storage.file_names import UNFINISHED, hidden_name


def leftover(place: Path) -> Path:
    """What a killed process leaves beside the file."""
    staged = place.parent / hidden_name(place, UNFINISHED)
    staged.write_bytes(b"half")
    return staged


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    place.write_bytes(b"old")
    place.chmod(0o604)
    write_beside(place, b"new")
    assert place.read_bytes() == b"new" and stat.S_IMODE(place.stat().st_mode) == 0o604
    assert [*tmp_path.iterdir()] == [place]


def test_a_new_file_has_the_mode_of_another_or_the_usual_one(tmp_path: Path) -> None:
    like = tmp_path / "like"
    like.touch()
    like.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_beside(tmp_path / "first", b"1", like=like)
        write_beside(tmp_path / "second", b"2")
        write_beside(tmp_path / "third", b"3", executable=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("first", "second", "third")]
    assert modes == [0o640, 0o640, 0o750]


def test_what_a_dead_process_left_gives_way(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    staged = leftover(place)
    write_beside(place, b"new")
    assert place.read_bytes() == b"new" and not staged.exists()


def test_what_a_living_process_holds_stays(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    place.write_bytes(b"old")
    staged = leftover(place)
    with open(staged, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clear_beside(place) is False
        with pytest.raises(OutputError, match="is in the way") as refused:
            write_beside(place, b"new")
    assert refused.value.help == "is another process writing? Else remove it"
    assert str(staged) in str(refused.value)
    assert place.read_bytes() == b"old" and staged.read_bytes() == b"half"


def test_clearing_tells_whether_there_was_something(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    place.write_bytes(b"old")
    assert clear_beside(place) is False
    staged = leftover(place)
    assert clear_beside(place) is True
    assert not staged.exists() and place.read_bytes() == b"old"


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    place, victim = tmp_path / "config.json", tmp_path / "victim"
    victim.write_bytes(b"precious")
    staged = tmp_path / hidden_name(place, UNFINISHED)
    staged.symlink_to(victim)
    assert clear_beside(place) is False
    with pytest.raises(OutputError):
        write_beside(place, b"new")
    assert victim.read_bytes() == b"precious" and staged.is_symlink() and not place.exists()


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "config.json"
    place.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_beside(place, b"new")
    assert place.read_bytes() == b"old" and [*tmp_path.iterdir()] == [place]


def test_writing_in_parts_writes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:2]))
    write_beside(tmp_path / "file", b"12345")
    assert (tmp_path / "file").read_bytes() == b"12345"


def test_a_second_name_is_the_same_file(tmp_path: Path) -> None:
    place, copy = tmp_path / "one", tmp_path / "two"
    place.write_bytes(b"x")
    keep_beside(place, copy)
    assert os.path.samefile(place, copy)
    with pytest.raises(FileExistsError):
        keep_beside(place, copy)


def test_a_link_gets_a_second_name_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to("target")
    keep_beside(tmp_path / "link", tmp_path / "copy")
    assert (tmp_path / "copy").is_symlink()


def test_without_hard_links_a_second_name_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, copy = tmp_path / "one", tmp_path / "two"
    place.write_bytes(b"x")
    place.chmod(0o604)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    keep_beside(place, copy)
    assert copy.read_bytes() == b"x" and not os.path.samefile(place, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o604
