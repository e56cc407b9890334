"""Writing virtual containers: every kind of payload and file, durability in the right order, and workers that fail."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from ckptkit.errors import ContainerError, OutputError
from ckptkit.operations.stream import stream
from ckptkit.storage import writer
from ckptkit.storage.container import open_container
from ckptkit.storage.copy import Copier, Method
from ckptkit.storage.output import CONSTANT, OutputFile, OutputShard, OutputTensor, VirtualContainer, coalesce
from ckptkit.storage.payload import ByteRange, Computed, Inline, Payload
from ckptkit.storage.source import LocalSource, Source
from ckptkit.storage.writer import file_sizes, write_container
from tests.raw import MemorySource, shard_bytes

SHARD = "model.safetensors"
WEIGHT = bytes(range(200)) * 50
SCALE = b"\x00\x00\x80\x3f"


def make_source(folder: Path) -> LocalSource:
    """One shard with a weight, a scale and an empty tensor, and side files of every sort."""
    tensors = {
        "a.weight": ("U8", (100, 100), WEIGHT),
        "a.scale": ("F32", (), SCALE),
        "empty": ("F32", (0, 7), b""),
    }
    files = {
        SHARD: shard_bytes(tensors),
        "config.json": b"{}",
        "original/params.json": b'{"dim": 1}',
        "notes/leer/重み.txt": "größer".encode(),
        ".gitattributes": b"",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return LocalSource(folder)


def renamed(source: LocalSource | MemorySource, *extra: OutputTensor) -> VirtualContainer:
    """The source with each tensor renamed, all other files as they are, and more tensors at the end."""
    container = open_container(source)
    (header,) = container.headers
    tensors = [OutputTensor(f"new.{t.name}", t.dtype, t.shape, "rename", (t,)) for t in header.tensors.values()]
    entries = [entry for entry in source.files() if entry.name != SHARD]
    files = tuple(OutputFile(entry.name, ByteRange(entry.name, 0, entry.size)) for entry in entries)
    return VirtualContainer((OutputShard(SHARD, (*tensors, *extra), {"format": "pt"}),), files)


@pytest.fixture
def source(tmp_path: Path) -> LocalSource:
    return make_source(tmp_path / "source")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    return target


@pytest.mark.parametrize("jobs", [1, 2, 7])
@pytest.mark.parametrize("fsync", [True, False])
def test_everything_arrives(jobs: int, fsync: bool, source: LocalSource, folder: Path) -> None:
    scale = open_container(source).tensors["a.scale"]

    def twice(payload: Computed, source: Source, begin: int, end: int) -> Iterator[bytes]:
        for tensor in (*payload.inputs, *payload.inputs):
            yield source.read(tensor.shard, tensor.start, tensor.nbytes)

    output = renamed(
        source,
        OutputTensor("twice", "F32", (2,), "twice", (scale,)),
        OutputTensor("one", "F32", (), CONSTANT, (), {"hex": SCALE.hex()}),
        OutputTensor("nothing", "F32", (3, 0), CONSTANT, (), {"hex": ""}),
    )
    moved: list[int] = []
    by_method = write_container(output, source, folder, stream=twice, jobs=jobs, fsync=fsync, progress=moved.append)
    written = LocalSource(folder)
    assert {entry.name: entry.size for entry in written.files()} == file_sizes(output)
    assert sum(moved) == sum(file_sizes(output).values())
    container = open_container(written)
    assert [fault.kind for fault in container.faults] == []
    tensors = {name: container.read(tensor) for name, tensor in container.tensors.items()}
    assert tensors == {
        "new.a.weight": WEIGHT,
        "new.a.scale": SCALE,
        "new.empty": b"",
        "twice": SCALE * 2,
        "one": SCALE,
        "nothing": b"",
    }
    for entry in source.files():
        if entry.name != SHARD:
            assert written.read(entry.name) == source.read(entry.name)
    assert by_method[Method.READ_WRITE] == 0


def test_a_source_that_is_not_on_this_machine(source: LocalSource, folder: Path) -> None:
    remote = MemorySource({entry.name: source.read(entry.name) for entry in source.files()})
    by_method = write_container(renamed(remote), remote, folder, stream=stream)
    assert open_container(LocalSource(folder)).tensors.keys() == {"new.a.weight", "new.a.scale", "new.empty"}
    assert sum(by_method.values()) == 0


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_nobody_may_read_the_result_who_could_not_read_the_source(mode: int, source: LocalSource, folder: Path) -> None:
    for path in source.root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    source.root.chmod(mode)
    write_container(renamed(source), source, folder, stream=stream)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o222])
def test_modes_honour_the_umask(mask: int, source: LocalSource, folder: Path) -> None:
    previous = os.umask(mask)
    try:
        write_container(renamed(source), source, folder, stream=stream)
    finally:
        os.umask(previous)
    for path in folder.rglob("*"):
        wanted = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == wanted & ~mask, path
        path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are asked of /proc")
def test_each_file_is_synced_after_its_last_byte(
    source: LocalSource, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[str, bytes] = {}

    def fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        synced[str(path.relative_to(folder))] = path.read_bytes()

    monkeypatch.setattr(os, "fsync", fsync)
    output = renamed(source)
    write_container(output, source, folder, stream=stream, jobs=2, fsync=True)
    assert synced == {name: (folder / name).read_bytes() for name in file_sizes(output)}


def test_without_fsync_nothing_is_synced(source: LocalSource, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("synced"))
    write_container(renamed(source), source, folder, stream=stream, fsync=False)


def test_a_failing_sync_is_an_error(source: LocalSource, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="failed: Input/output error"):
        write_container(renamed(source), source, folder, stream=stream)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../../b", ""])
def test_no_file_is_written_outside_the_folder(name: str, source: LocalSource, folder: Path) -> None:
    output = VirtualContainer((), (OutputFile(name, Inline(b"x")),))
    with pytest.raises(OutputError, match="not the name of a file inside"):
        write_container(output, source, folder, stream=stream)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["source", "target"]


def test_two_files_of_one_name(source: LocalSource, folder: Path) -> None:
    output = VirtualContainer((), (OutputFile("a", Inline(b"x")), OutputFile("a", Inline(b"y"))))
    with pytest.raises(OutputError, match="writing a failed: File exists"):
        write_container(output, source, folder, stream=stream, jobs=1)


def test_a_computation_must_keep_its_promise(source: LocalSource, folder: Path) -> None:
    def short(payload: Computed, source: Source, begin: int, end: int) -> Iterator[bytes]:
        yield from (b"123", b"4567")

    def long(payload: Computed, source: Source, begin: int, end: int) -> Iterator[bytes]:
        yield from (b"12345678", b"9")

    output = renamed(source, OutputTensor("x", "F32", (2,), "a cast", ()))
    with pytest.raises(ContainerError, match="a cast gave 7 bytes where 8 were promised"):
        write_container(output, source, folder, stream=short)
    (folder / SHARD).unlink()
    with pytest.raises(ContainerError, match="a cast gave 9 or more bytes where 8 were promised"):
        write_container(output, source, folder, stream=long, jobs=1)


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_writes_the_same_files(pool: type[Executor], source: LocalSource, folder: Path) -> None:
    output, moved = renamed(source), list[int]()
    with pool(2) as executor:
        write_container(output, source, folder, stream=stream, executor=executor, progress=moved.append)
    assert sum(moved) == sum(file_sizes(output).values())
    other = folder.parent / "other"
    other.mkdir()
    write_container(output, source, other, stream=stream)
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == {
        path.name: path.read_bytes() for path in other.rglob("*") if path.is_file()
    }


def test_a_failure_in_an_executor_is_raised_when_all_have_stopped(source: LocalSource, folder: Path) -> None:
    output = VirtualContainer((), (*renamed(source).files, OutputFile("../escape", Inline(b"x"))))
    with ProcessPoolExecutor(1) as executor, pytest.raises(OutputError, match="not the name of a file inside"):
        write_container(output, source, folder, stream=stream, executor=executor)


def test_a_source_file_that_cannot_be_opened(
    source: LocalSource, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = renamed(source)
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == source.root / "config.json":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ContainerError, match=r"config\.json cannot be read: Permission denied"):
        write_container(output, source, folder, stream=stream)


def test_a_source_file_that_is_gone(source: LocalSource, folder: Path) -> None:
    output = renamed(source)
    (source.root / "config.json").unlink()
    with pytest.raises(ContainerError, match=r"config\.json cannot be read: No such file"):
        write_container(output, source, folder, stream=stream)


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def rewrite(path: Path) -> None:
    data = path.read_bytes()
    time.sleep(0.01)
    path.write_bytes(data)


def replace(path: Path) -> None:
    (path.parent / "fresh").write_bytes(path.read_bytes())
    os.replace(path.parent / "fresh", path)


@pytest.mark.parametrize("change", [shrink, rewrite, replace])
def test_a_source_that_changes_while_it_is_copied(
    change: Callable[[Path], None], source: LocalSource, folder: Path
) -> None:
    changed: list[int] = []

    def progress(nbytes: int) -> None:
        if not changed:
            changed.append(nbytes)
            change(source.root / SHARD)

    with pytest.raises(ContainerError, match="changed while it was copied"):
        write_container(renamed(source), source, folder, stream=stream, jobs=1, progress=progress)


def test_coalescing_joins_neighbours_only() -> None:
    payloads: list[Payload] = [
        ByteRange("a", 0, 10),
        ByteRange("a", 10, 5),
        ByteRange("a", 15, 0),
        ByteRange("a", 20, 1),
        ByteRange("b", 21, 1),
        Inline(b"x"),
        ByteRange("b", 22, 1),
    ]
    assert list(coalesce(payloads)) == [
        ByteRange("a", 0, 15),
        ByteRange("a", 20, 1),
        ByteRange("b", 21, 1),
        Inline(b"x"),
        ByteRange("b", 22, 1),
    ]


def test_a_header_puts_data_where_the_blocks_of_the_source_meet(source: LocalSource) -> None:
    (shard,) = renamed(source).shards
    header = shard.header
    assert (len(header) - open_container(source).headers[0].data_start) % 4096 == 0
    assert json.loads(header[8:])["__metadata__"] == {"format": "pt"}


def workers_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ckptkit_")]


def worker(work: Callable[[int], None], jobs: int, items: int = 50) -> Copier:
    copier = Copier()
    writer._run(jobs, copier, work, range(items))
    return copier


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_work_is_done_once(jobs: int) -> None:
    done: list[int] = []
    worker(done.append, jobs)
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_the_first_failure_stops_the_others_and_is_raised(jobs: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 3:
            raise OutputError("the disk is full")
        time.sleep(0.002)

    with pytest.raises(OutputError, match="the disk is full"):
        worker(work, jobs)
    assert len(done) < 50
    assert not workers_alive()


def test_a_real_failure_wins_over_those_that_it_cancelled() -> None:
    started = threading.Barrier(2)
    copier = Copier()

    def work(item: int) -> None:
        started.wait()
        if item == 1:
            raise ContainerError("the source is gone")
        while True:
            copier.check()
            time.sleep(0.001)

    with pytest.raises(ContainerError, match="the source is gone"):
        writer._run(2, copier, work, range(2))


def test_an_interrupt_stops_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives in the main thread, which waits for the others."""
    copier = Copier()
    started = threading.Barrier(4)

    def work(item: int) -> None:
        started.wait()
        while True:
            copier.check()
            time.sleep(0.001)

    def interrupted(*args: object, **options: object) -> None:
        started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer._run(3, copier, work, range(50))
    assert not workers_alive()


def test_an_interrupt_at_work_is_raised() -> None:
    def work(item: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker(work, 1)


def test_an_unexpected_exception_is_not_swallowed() -> None:
    def work(item: int) -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        worker(work, 1)
