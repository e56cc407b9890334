"""Moving bytes: each method in turn, what happens when it gives up, and who says why it failed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import ContainerError, OutputError
from ckptkit.storage import copy
from ckptkit.storage.copy import BLOCK, Cancelled, Copier, Method, Transfer, shares_blocks

KERNEL_METHODS = (Method.REFLINK, Method.COPY_FILE_RANGE, Method.SENDFILE)
DATA = random.Random(1).randbytes(5 * BLOCK + 123)
Step = Callable[[Transfer], int]


def ignore(nbytes: int) -> None:
    """A progress callback for those who do not look."""


@contextmanager
def files(folder: Path, data: bytes, size: int) -> Iterator[tuple[int, int]]:
    """An open source with this content and an open target of this size."""
    (folder / "source").write_bytes(data)
    source = os.open(folder / "source", os.O_RDONLY)
    target = os.open(folder / "target", os.O_RDWR | os.O_CREAT)
    os.ftruncate(target, size)
    try:
        yield source, target
    finally:
        os.close(source)
        os.close(target)


def by_hand(part: Transfer) -> int:
    """What a kernel method does, done here."""
    return os.pwrite(part.target, os.pread(part.source, part.nbytes, part.start), part.offset)


def shared_by_hand(part: Transfer) -> int:
    """A reflink on a file system that has none: whole blocks only, as the real one."""
    if part.start % BLOCK or part.offset % BLOCK or part.nbytes < BLOCK:
        return 0
    return by_hand(part.first(part.nbytes - part.nbytes % BLOCK))


def failing(code: int, calls: list[Transfer]) -> Step:
    def step(part: Transfer) -> int:
        calls.append(part)
        raise OSError(code, os.strerror(code))

    return step


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize(("start", "offset"), [(0, 0), (8, 8), (100, 7), (BLOCK, 3 * BLOCK), (BLOCK + 8, 8)])
def test_each_method_moves_exactly_the_bytes(
    method: Method, start: int, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(copy._STEPS, Method.REFLINK, shared_by_hand)
    nbytes = 3 * BLOCK + 77
    with files(tmp_path, DATA, offset + nbytes + 9) as (source, target):
        copier = Copier((method,))
        seen: list[int] = []
        copier.copy(Transfer(source, start, target, offset, nbytes), seen.append)
    assert (tmp_path / "target").read_bytes() == bytes(offset) + DATA[start : start + nbytes] + bytes(9)
    assert sum(seen) == nbytes == sum(copier.moved.values())
    if (start - offset) % BLOCK:
        assert copier.moved[Method.READ_WRITE] == nbytes
    elif method is Method.REFLINK:
        assert copier.moved[method] == (nbytes - -start % BLOCK) // BLOCK * BLOCK
    else:
        assert copier.moved[method] == nbytes


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EIO])
def test_a_method_that_fails_is_not_tried_again(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[Method, list[Transfer]] = {method: [] for method in KERNEL_METHODS}
    for method in KERNEL_METHODS:
        monkeypatch.setitem(copy._STEPS, method, failing(code, calls[method]))
    copier = Copier()
    with files(tmp_path, DATA, len(DATA)) as (source, target):
        half = len(DATA) // 2
        copier.copy(Transfer(source, 0, target, 0, half), ignore)
        copier.copy(Transfer(source, half, target, half, len(DATA) - half), ignore)
    assert (tmp_path / "target").read_bytes() == DATA
    assert {method: len(found) for method, found in calls.items()} == dict.fromkeys(KERNEL_METHODS, 1)
    assert copier.moved[Method.READ_WRITE] == len(DATA)


def test_the_next_method_goes_on_where_one_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_bytes_only(part: Transfer) -> int:
        if part.start >= 1000:
            raise OSError(errno.EINVAL, "no more")
        return by_hand(part.first(min(part.nbytes, 1000 - part.start)))

    monkeypatch.setitem(copy._STEPS, Method.COPY_FILE_RANGE, first_bytes_only)
    monkeypatch.setitem(copy._STEPS, Method.SENDFILE, lambda part: by_hand(part.first(min(part.nbytes, 501))))
    copier = Copier((Method.COPY_FILE_RANGE, Method.SENDFILE))
    with files(tmp_path, DATA, len(DATA)) as (source, target):
        copier.copy(Transfer(source, 0, target, 0, len(DATA)), ignore)
    assert (tmp_path / "target").read_bytes() == DATA
    assert copier.moved[Method.COPY_FILE_RANGE] == 1000
    assert copier.moved[Method.SENDFILE] == len(DATA) - 1000


def test_short_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_read, real_write = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda file, buffers, start: real_read(file, [buffers[0][:1021]], start))
    monkeypatch.setattr(os, "pwrite", lambda file, data, start: real_write(file, data[:509], start))
    with files(tmp_path, DATA, len(DATA)) as (source, target):
        Copier((Method.READ_WRITE,)).copy(Transfer(source, 0, target, 0, len(DATA)), ignore)
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize("method", [Method.COPY_FILE_RANGE, Method.SENDFILE, Method.READ_WRITE])
def test_a_source_that_ends_early(method: Method, tmp_path: Path) -> None:
    early = pytest.raises(ContainerError, match="10 bytes early: it changed while it was copied")
    with files(tmp_path, DATA, len(DATA) + 10) as (source, target), early:
        Copier((method,)).copy(Transfer(source, 0, target, 0, len(DATA) + 10), ignore)


@pytest.mark.parametrize("method", [*KERNEL_METHODS, Method.READ_WRITE])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_final(method: Method, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Transfer] = []
    monkeypatch.setitem(copy._STEPS, method, failing(code, calls))
    monkeypatch.setattr(os, "pwrite", lambda *arguments: failing(code, calls)(arguments))
    with files(tmp_path, DATA, len(DATA)) as (source, target), pytest.raises(OutputError, match="the disk is full"):
        Copier((method,)).copy(Transfer(source, 0, target, 0, len(DATA)), ignore)
    assert len(calls) == 1


def test_read_and_write_say_which_side_failed(tmp_path: Path) -> None:
    with files(tmp_path, DATA, len(DATA)) as (source, target):
        unreadable = os.open(tmp_path / "source", os.O_WRONLY)
        unwritable = os.open(tmp_path / "target", os.O_RDONLY)
        with pytest.raises(ContainerError, match="reading the source failed"):
            Copier().copy(Transfer(unreadable, 0, target, 0, 10), ignore)
        with pytest.raises(OutputError, match="writing failed"):
            Copier().copy(Transfer(source, 0, unwritable, 0, 10), ignore)
        os.close(unreadable)
        os.close(unwritable)


@pytest.mark.parametrize("method", [Method.COPY_FILE_RANGE, Method.READ_WRITE])
def test_cancelling_stops_at_the_next_chunk(method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_CHUNK", 1000)
    monkeypatch.setattr(copy, "_BUFFER", 1000)
    copier = Copier((method,))
    seen: list[int] = []

    def progress(nbytes: int) -> None:
        seen.append(nbytes)
        if len(seen) == 3:
            copier.cancel()

    with files(tmp_path, DATA, len(DATA)) as (source, target), pytest.raises(Cancelled):
        copier.copy(Transfer(source, 0, target, 0, len(DATA)), progress)
    assert seen == [1000, 1000, 1000]


@given(st.integers(0, 1 << 30), st.integers(1, 1 << 30))
def test_strides_reach_a_large_boundary_and_stay_on_it(offset: int, nbytes: int) -> None:
    rest, strides = Transfer(3, 0, 4, offset, nbytes), 0
    while rest.nbytes:
        stride = copy._stride(rest, copy._CHUNK)
        assert 0 < stride <= min(rest.nbytes, copy._CHUNK)
        rest = rest.after(stride)
        assert rest.nbytes == 0 or rest.offset % copy._BOUNDARY == 0
        strides += 1
    assert strides <= 2 + nbytes // copy._CHUNK


@given(st.integers(0, 3 * BLOCK), st.integers(0, 3 * BLOCK), st.integers(1, 5 * BLOCK))
def test_cutting_at_blocks_loses_nothing(start: int, offset: int, nbytes: int) -> None:
    transfer = Transfer(3, start, 4, offset, nbytes)
    parts = list(copy._cut_at_blocks(transfer))
    position = 0
    for part in parts:
        assert part == transfer.after(position).first(part.nbytes)
        assert part.nbytes > 0
        position += part.nbytes
    assert position == nbytes
    if (start - offset) % BLOCK == 0 and nbytes >= 2 * BLOCK:
        assert any(not (p.start % BLOCK or p.offset % BLOCK or p.nbytes % BLOCK) and p.nbytes for p in parts)


def test_no_blocks_are_shared_where_the_file_system_cannot(tmp_path: Path) -> None:
    assert not shares_blocks(tmp_path / "missing", tmp_path)
    (tmp_path / "small").write_bytes(b"less than a block")
    assert not shares_blocks(tmp_path / "small", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.fixture(params=["xfs", "btrfs"])
def sharing_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that shares blocks, mounted for the test; skipped where that is not allowed."""
    kind = request.param
    image, point = tmp_path / f"{kind}.image", tmp_path / kind
    point.mkdir()
    with open(image, "wb") as file:
        file.truncate(320 << 20)
    make, mount = shutil.which(f"mkfs.{kind}"), shutil.which("mount")
    if os.geteuid() != 0 or make is None or mount is None:
        pytest.skip(f"needs root and mkfs.{kind}")
    subprocess.run([make, "-q", str(image)], check=True, capture_output=True)
    if subprocess.run([mount, "-o", "loop", str(image), str(point)], check=False, capture_output=True).returncode:
        pytest.skip("loop mounts are not allowed here")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_blocks_are_really_shared(sharing_folder: Path) -> None:
    data = DATA * 50
    with files(sharing_folder, data, len(data) + 8) as (source, target):
        assert shares_blocks(sharing_folder / "source", sharing_folder)
        copier = Copier()
        copier.copy(Transfer(source, 8, target, 8, len(data) - 8), ignore)
    assert (sharing_folder / "target").read_bytes()[8 : len(data)] == data[8:]
    assert copier.moved[Method.REFLINK] >= len(data) - 3 * BLOCK
    assert copier.moved[Method.READ_WRITE] == 0
