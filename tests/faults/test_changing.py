"""Files that somebody changes while they are read, copied, fixed or uploaded: noticed, and never half of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ckptkit
from ckptkit import api
from ckptkit.conversion import apply_fixes
from ckptkit.errors import SourceChanged
from ckptkit.storage import source as source_module
from ckptkit.storage.replace import replacing
from ckptkit.storage.source import LocalSource
from tests.damage import CT, QUARK_SHARDED, REAL, load
from tests.faults.snapshot import snapshot

SHARD = "model-00002-of-00003.safetensors"


def rewrite(path: Path) -> None:
    """The same size and inode, and other bytes."""
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    later(path)


def later(path: Path) -> None:
    """The time of the last change is certain to be another, whatever the file system's clock ticks in."""
    now = path.stat()
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns + 10_000_000))


def replace(path: Path) -> None:
    """Another file of the same name, size and time."""
    fresh = path.with_name("fresh")
    shutil.copy2(path, fresh)
    os.replace(fresh, path)


def grow(path: Path) -> None:
    before = path.stat()
    with open(path, "ab") as file:
        file.write(b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = (rewrite, replace, grow)
Change = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REAL / QUARK_SHARDED, tmp_path / "checkpoint"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_it_was_listed_is_not_read(change: Change, folder: Path) -> None:
    source = LocalSource(folder)
    change(folder / "config.json")
    with pytest.raises(SourceChanged, match=r"config\.json changed while it was read"):
        source.read("config.json")
    assert LocalSource(folder).read("config.json") == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_during_a_read_is_not_taken(
    change: Change, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, real = LocalSource(folder), source_module._read_fully

    def reading(read: Callable[[int], bytes | None], nbytes: int) -> bytes:
        data = real(read, nbytes)
        change(folder / SHARD)
        return data

    monkeypatch.setattr(source_module, "_read_fully", reading)
    if change is replace:  # what was opened is whole and old
        assert len(source.read(SHARD, 0, 8)) == 8
        monkeypatch.undo()
    with pytest.raises(SourceChanged):
        source.read(SHARD, 0, 8)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["config.json", SHARD, "model.safetensors.index.json", "generation_config.json"])
def test_what_changed_since_it_was_planned_is_not_converted(
    name: str, change: Change, folder: Path, tmp_path: Path
) -> None:
    """The config of the result is made of the old one, whose weights may be others by now."""
    with pytest.raises(SourceChanged, match=name):
        api.convert(folder, tmp_path / "out", to="ct", on_plan=lambda plan: change(folder / name))
    assert os.listdir(tmp_path) == ["checkpoint"]
    if change is replace:  # the others have damaged it
        api.convert(folder, tmp_path / "out", to="ct")


@pytest.mark.parametrize("name", ["config.json", SHARD, "model.safetensors.index.json"])
def test_what_changes_while_it_is_copied_is_not_converted(name: str, folder: Path, tmp_path: Path) -> None:
    moved: list[int] = []

    def progress(nbytes: int) -> None:
        if not moved:
            replace(folder / name)
        moved.append(nbytes)

    with pytest.raises(SourceChanged, match=f"{name} changed while it was copied"):
        api.convert(folder, tmp_path / "out", to="ct", jobs=1, progress=progress)
    assert os.listdir(tmp_path) == ["checkpoint"]


def with_a_wrong_name(folder: Path) -> Path:
    checkpoint = load(CT)
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    return checkpoint.write(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
@pytest.mark.parametrize(("late", "output"), [(False, False), (True, False), (False, True)])
def test_a_fix_overwrites_nobodys_change(
    name: str, late: bool, output: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else edits the folder while it is fixed, before files are staged or while they are."""
    folder, real = with_a_wrong_name(tmp_path / "checkpoint"), apply_fixes.write_container

    def writing(*arguments: object, **options: object) -> object:
        if not late:
            replace(folder / name)
        moved = real(*arguments, **options)  # type: ignore[arg-type]
        if late:
            replace(folder / name)
        return moved

    monkeypatch.setattr(apply_fixes, "write_container", writing)
    if late and name != "model.safetensors":  # not a file that this fix replaces
        api.fix(folder)
        return
    before, inode = snapshot(folder), (folder / name).stat().st_ino
    with pytest.raises(SourceChanged, match=name):
        api.fix(folder, output=tmp_path / "out" if output else None)
    assert os.listdir(tmp_path) == ["checkpoint"] and snapshot(folder) == before
    assert (folder / name).stat().st_ino != inode, "the other's file is gone"
    monkeypatch.undo()
    api.fix(folder)


def test_a_replacement_checks_what_it_replaces(folder: Path) -> None:
    source = LocalSource(folder)
    rewrite(folder / "config.json")
    before = snapshot(folder)
    with pytest.raises(SourceChanged, match="changed while it was fixed"), replacing(folder, source.state) as staged:
        (staged / "config.json").write_bytes(b"{}")
    assert snapshot(folder) == before and os.listdir(folder.parent) == ["checkpoint"]


def test_a_full_scan_is_of_one_state(folder: Path) -> None:
    from ckptkit.checks.full_scan import scan_weights

    checkpoint = api.open(folder)
    modules = list(checkpoint.modules.values())

    def progress(nbytes: int) -> None:
        later(folder / modules[-1].weight.shard)

    with pytest.raises(SourceChanged):
        scan_weights(checkpoint.container, modules, progress=progress)


def test_a_change_is_no_finding_and_no_defect(folder: Path) -> None:
    """The command line: exit code 2 and one sentence, since it says nothing about the checkpoint."""
    code = f"""
import os
from ckptkit.storage import container
real = container.read_headers
def reading(source, shards, index=None):
    os.utime({str(folder / SHARD)!r})
    return real(source, shards, index)
container.read_headers = reading
from ckptkit.cli.main import main
main()
"""
    command = [sys.executable, "-c", code, "validate", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{SHARD} changed while it was read" in done.stderr and "help: do it again" in done.stderr


def test_what_does_not_change_is_taken_as_it_is(folder: Path) -> None:
    """The near miss: reading alone, and other names for the same file, change nothing."""
    source = LocalSource(folder)
    (folder / SHARD).read_bytes()
    os.link(folder / SHARD, folder / "another.safetensors")
    (folder / SHARD).chmod(0o600)
    assert source.read(SHARD, 0, 8) and ckptkit.validate(folder, ignore="CK105").findings is not None
