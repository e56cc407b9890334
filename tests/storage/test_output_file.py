"""Files that people name for output: overwritten whole, through links, never a checkpoint's own; devices stay."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckptkit.errors import OutputError, UsageError
from ckptkit.storage.output_file import check_output_file, write_output_file


def test_what_is_there_is_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "report.txt"
    place.write_bytes(b"old")
    place.chmod(0o640)
    write_output_file(place, b"new")
    assert place.read_bytes() == b"new" and stat.S_IMODE(place.stat().st_mode) == 0o640
    assert [*tmp_path.iterdir()] == [place]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_leads_to_the_new_file(there: bool, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    link, target = tmp_path / "report.txt", tmp_path / "target" / "kept.txt"
    link.symlink_to(target)
    if there:
        target.write_bytes(b"old")
    write_output_file(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


@pytest.mark.parametrize("beside", ["model.safetensors", "model-00001-of-00002.safetensors"])
@pytest.mark.parametrize("name", ["tokenizer.json", "report.html", "model.safetensors", "README.md"])
def test_nothing_beside_shards_is_overwritten(name: str, beside: str, tmp_path: Path) -> None:
    (tmp_path / beside).touch()
    (tmp_path / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / name)
    for place in (tmp_path / name, tmp_path / "elsewhere" / "link"):
        with pytest.raises(OutputError, match="lies in a checkpoint"):
            write_output_file(place, b"new")
    assert (tmp_path / name).read_bytes() == b""
    write_output_file(tmp_path / "new.txt", b"new")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_configs_are_a_checkpoints_own_wherever_they_lie(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(OutputError, match="lies in a checkpoint"):
        check_output_file(tmp_path / name)


def test_the_snapshots_of_the_hubs_cache_are_links(tmp_path: Path) -> None:
    for folder in ("blobs", "snapshots"):
        (tmp_path / folder).mkdir()
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / "blobs" / name).write_bytes(b"theirs")
        (tmp_path / "snapshots" / name).symlink_to(f"../blobs/{name}")
    with pytest.raises(OutputError, match="lies in a checkpoint"):
        write_output_file(tmp_path / "snapshots" / "tokenizer.json", b"new")


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    write_output_file("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output_file(pipe, b"through")
    reader.join(10)
    assert read == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_by_its_name(tmp_path: Path) -> None:
    code = "from ckptkit.storage.output_file import write_output_file as put; put('/dev/stdout', b'shown')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"shown"
    with open(tmp_path / "log", "wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_bytes() == b"shown"


@pytest.mark.parametrize(
    ("name", "words"), [("", "the path is empty"), ("no/file", "no does not exist"), (".", "is a folder")]
)
def test_where_nothing_can_be_written(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises((OutputError, UsageError), match=words):
        check_output_file(str(tmp_path / name) if name else name)
