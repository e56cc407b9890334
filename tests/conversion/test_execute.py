"""Carrying out a plan: what is refused, in which order things become durable, and the look at what was written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion import execute as module
from ckptkit.errors import ConversionRefused, OutputError
from ckptkit.operations import stream
from ckptkit.storage import staging, writer
from ckptkit.storage.container import open_container
from ckptkit.storage.source import LocalSource
from tests.faults.snapshot import snapshot

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real" / "llama"
QUARK = REAL / "quark-fp8-kv"
SHARDED = REAL / "quark-ptpc-sharded"
SHARD = "model.safetensors"


def test_what_is_written_is_what_was_planned(tmp_path: Path) -> None:
    result = ckptkit.convert(SHARDED, tmp_path / "out", to="ct")
    assert sum(result.moved.values()) == result.plan.cost.copied
    assert result.plan.cost.total == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert ckptkit.diff(SHARDED, tmp_path / "out").same
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_side_files_arrive_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in QUARK.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    extra = {"original/params.json": b"{}", "empty.txt": b"", "重み/größe.md": b"\xff\x00"}
    for name, data in extra.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    ckptkit.convert(source, tmp_path / "out", to="ct")
    for name, data in extra.items():
        assert (tmp_path / "out" / name).read_bytes() == data


def occupied(root: Path) -> Path:
    (root / "out").mkdir()
    (root / "out" / "mine").touch()
    return root / "out"


def missing_parent(root: Path) -> Path:
    return root / "missing" / "out"


def inside_source(root: Path) -> Path:
    return root / "source" / "out"


@pytest.mark.parametrize("arrange", [occupied, missing_parent, inside_source])
@pytest.mark.parametrize("target", ["ct", "quark"])
def test_a_refusal_writes_nothing(arrange: Callable[[Path], Path], target: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    origin = QUARK if target == "ct" else REAL / "llmcompressor-fp8-kv"
    for path in origin.iterdir():
        (tmp_path / "source" / path.name).write_bytes(path.read_bytes())
    destination = arrange(tmp_path)
    before, time = snapshot(tmp_path), tmp_path.stat().st_mtime_ns
    plans: list[object] = []
    with pytest.raises(OutputError):
        ckptkit.convert(tmp_path / "source", destination, to=target, on_plan=plans.append)
    assert snapshot(tmp_path) == before
    assert tmp_path.stat().st_mtime_ns == time
    assert plans == [], "a destination is refused before the plan is shown"


def test_losses_are_refused_before_the_destination_is_touched(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused):
        ckptkit.convert(REAL / "llmcompressor-groups", tmp_path / "out", to="quark", mode="fp8")
    assert snapshot(tmp_path).keys() == {"."}


def test_things_become_durable_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files first, then the folders that name them, then the rename, then the folder that holds the result."""
    events: list[tuple[str, str]] = []
    real_rename, out = os.rename, tmp_path / "out"
    source = tmp_path / "source"
    (source / "original").mkdir(parents=True)
    (source / "original" / "params.json").write_text("{}")
    for path in QUARK.iterdir():
        (source / path.name).write_bytes(path.read_bytes())

    def place(path: str) -> str:
        parts = Path(path).relative_to(tmp_path).parts
        return "/".join("STAGING" if ".ckptkit-staging-" in part else part for part in parts) or "PARENT"

    def fsync(handle: int) -> None:
        events.append(("sync", place(os.readlink(f"/proc/self/fd/{handle}"))))

    def rename(source: Path, target: Path) -> None:
        events.append(("rename", place(str(target))))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    ckptkit.convert(source, out, to="ct", jobs=1)
    files = {("sync", f"STAGING/{path.relative_to(out)}") for path in out.rglob("*") if path.is_file()}
    assert set(events[: len(files)]) == files
    assert events[len(files) :] == [
        ("sync", "STAGING"),
        ("sync", "STAGING/original"),
        ("rename", "out"),
        ("sync", "PARENT"),
    ]


Damage = Callable[[Path], None]


def lose_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "surprise.txt").touch()


def cut_a_side_file(folder: Path) -> None:
    os.truncate(folder / "tokenizer.json", 5)


def cut_a_shard(folder: Path) -> None:
    os.truncate(folder / SHARD, (folder / SHARD).stat().st_size - 1)


def rename_a_tensor(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data.replace(b"model.norm.weight", b"model.nom.weights", 1))


def zero_the_scales(folder: Path) -> None:
    with open(folder / SHARD, "r+b") as file:
        for tensor in open_container(LocalSource(folder)).tensors.values():
            if tensor.name.endswith("weight_scale"):
                file.seek(tensor.start)
                file.write(b"\xff" * tensor.nbytes)


def break_the_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(
        (folder / "config.json").read_bytes().replace(b"float-quantized", b"float-quantised")
    )


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lose_a_file, "tokenizer.json: not as planned"),
        (add_a_file, "surprise.txt: not as planned"),
        (cut_a_side_file, "tokenizer.json: not as planned"),
        (cut_a_shard, "cannot be read back"),
        (rename_a_tensor, "model.nom.weights: not as planned"),
        (zero_the_scales, "weight_scale"),
        (break_the_config, "config.json"),
    ],
)
def test_what_was_written_is_read_back_before_it_gets_its_name(
    damage: Damage, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = writer.write_container

    def write_and_damage(container: Any, source: Any, folder: Path, **options: Any) -> Any:
        copier = real(container, source, folder, **options)
        damage(folder)
        return copier

    monkeypatch.setattr(module, "write_container", write_and_damage)
    with pytest.raises(ConversionRefused) as caught:
        ckptkit.convert(QUARK, tmp_path / "out", to="ct")
    assert complaint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, nbytes: int) -> None:
        if nbytes > 10_000:
            raise OSError(28, "No space left on device")
        os.truncate(handle, nbytes)

    monkeypatch.setattr(writer, "allocate", full)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        ckptkit.convert(QUARK, tmp_path / "out", to="ct")
    assert caught.value.help is not None
    assert list(tmp_path.iterdir()) == []


def test_a_header_only_plan_counts_as_shareable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(module, "check_destination", lambda *arguments, **options: asked.update(options))
    made = ckptkit.plan(QUARK, to="ct")
    module.check(made, LocalSource(QUARK), tmp_path / "out")
    assert asked == {"shareable": made.cost.copied, "sample": QUARK / SHARD}


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(source: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(staging.os, "rename", rename)
    with pytest.raises(OutputError, match="busy"):
        ckptkit.convert(QUARK, tmp_path / "out", to="ct")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    def progress(nbytes: int) -> None:
        raise RuntimeError("the bar broke")

    for jobs in (1, 2):
        with pytest.raises(RuntimeError, match="the bar broke"):
            ckptkit.convert(SHARDED, tmp_path / "out", to="ct", jobs=jobs, progress=progress)
        assert list(tmp_path.iterdir()) == []


def test_the_stripes_of_one_shard_are_made_by_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    original = stream._stripe

    def noted(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        return original(*arguments, **named)

    monkeypatch.setattr(stream, "_stripe", noted)
    monkeypatch.setattr(stream, "STRIPE", 1 << 10)
    convert = partial(ckptkit.convert, to="ct", scheme="FP8_DYNAMIC", fsync=False)
    convert(REAL / "bf16", tmp_path / "one", jobs=1)
    assert not any("stripes" in name for name in threads)
    convert(REAL / "bf16", tmp_path / "several", jobs=3)
    assert any("stripes" in name for name in threads)
    one, several = ((tmp_path / name / SHARD).read_bytes() for name in ("one", "several"))
    assert one == several
