"""The only code that writes checkpoints: a virtual container becomes files in a folder.

Work is cut into pieces of at most 256 MiB, each with file descriptors of its own, so that several workers can
write one shard. Nothing here decides anything: names, shapes and order are all in the virtual container.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ckptkit.errors import ContainerError
from ckptkit.storage.copy import Cancelled, Copier, write_all, write_error
from ckptkit.storage.header import build_header
from ckptkit.storage.payload import ByteRange, Computed, Inline, OutputShard, Payload, VirtualContainer
from ckptkit.storage.source import Source

_PIECE = 1 << 28
_REMOTE_CHUNK = 1 << 23

Progress = Callable[[int], None]


@dataclass(frozen=True)
class _Piece:
    """One contiguous write: a payload at an offset of an output file."""

    file: str
    offset: int
    payload: Payload


def file_sizes(container: VirtualContainer) -> dict[str, int]:
    """The size in bytes of every file to be written."""
    sizes = {shard.file: len(shard_header(shard)) + shard.data_bytes for shard in container.shards}
    sizes.update((item.file, item.payload.nbytes) for item in container.files)
    return sizes


def shard_header(shard: OutputShard) -> bytes:
    """The header of an output shard, padded so that its data can share blocks with the source's."""
    ranges = [tensor.payload for tensor in shard.tensors if isinstance(tensor.payload, ByteRange)]
    return build_header(shard.tensors, shard.metadata, congruent_to=ranges[0].start if ranges else None)


def write_container(
    container: VirtualContainer,
    source: Source,
    folder: Path,
    *,
    jobs: int = 2,
    fsync: bool = True,
    progress: Progress = lambda nbytes: None,
) -> Copier:
    """Write every file of a virtual container into an empty folder; the copier says how bytes were moved."""
    copier = Copier()
    sizes = file_sizes(container)
    for name, size in sizes.items():
        _create(folder / name, size)
    pieces = sorted(_pieces(container), key=lambda piece: -piece.payload.nbytes)
    _run(jobs, copier, lambda piece: _write_piece(piece, source, folder, copier, progress), pieces)
    if fsync:
        _run(jobs, copier, lambda name: _sync_file(folder / name), sizes)
    return copier


def _run(jobs: int, copier: Copier, work: Callable[..., None], items: Iterable[object]) -> None:
    """Do work on items with some workers; the first failure, or Ctrl-C, stops the others at their next chunk."""
    if jobs <= 1:
        for item in items:
            work(item)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failures = [error for f in futures if f.done() and not f.cancelled() and (error := f.exception())]
        except BaseException:
            copier.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        if failures:
            copier.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
            raise next((error for error in failures if not isinstance(error, Cancelled)), failures[0])


def _pieces(container: VirtualContainer) -> Iterator[_Piece]:
    for shard in container.shards:
        header = shard_header(shard)
        yield _Piece(shard.file, 0, Inline(header))
        offset = len(header)
        for payload in coalesce(tensor.payload for tensor in shard.tensors):
            yield from _split(shard.file, offset, payload)
            offset += payload.nbytes
    for item in container.files:
        yield from _split(item.file, 0, item.payload)


def coalesce(payloads: Iterable[Payload]) -> Iterator[Payload]:
    """Join byte ranges that follow each other in the source: a renamed shard becomes one range."""
    pending: ByteRange | None = None
    for payload in payloads:
        if not isinstance(payload, ByteRange):
            if pending is not None:
                yield pending
                pending = None
            yield payload
        elif (
            pending is not None
            and payload.file == pending.file
            and payload.start == pending.start + pending.nbytes
        ):
            pending = ByteRange(pending.file, pending.start, pending.nbytes + payload.nbytes)
        else:
            if pending is not None:
                yield pending
            pending = payload
    if pending is not None:
        yield pending


def _split(file: str, offset: int, payload: Payload) -> Iterator[_Piece]:
    if not isinstance(payload, ByteRange) or payload.nbytes <= _PIECE:
        yield _Piece(file, offset, payload)
        return
    for begin in range(0, payload.nbytes, _PIECE):
        part = ByteRange(payload.file, payload.start + begin, min(_PIECE, payload.nbytes - begin))
        yield _Piece(file, offset + begin, part)


def _create(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        file.truncate(size)


def _write_piece(piece: _Piece, source: Source, folder: Path, copier: Copier, progress: Progress) -> None:
    target = os.open(folder / piece.file, os.O_WRONLY)
    try:
        payload = piece.payload
        if isinstance(payload, ByteRange):
            _copy_range(payload, source, target, piece.offset, copier, progress)
        else:
            data = payload.data if isinstance(payload, Inline) else _compute(payload, source)
            write_all(target, data, piece.offset)
            progress(len(data))
    finally:
        os.close(target)


def _copy_range(
    span: ByteRange, source: Source, target: int, offset: int, copier: Copier, progress: Progress
) -> None:
    path = source.local_path(span.file)
    if path is not None:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ContainerError(f"{path} cannot be read: {error.strerror}") from error
        try:
            copier.copy(handle, span.start, target, offset, span.nbytes, progress)
        finally:
            os.close(handle)
        return
    for begin in range(0, span.nbytes, _REMOTE_CHUNK):
        data = source.read(span.file, span.start + begin, min(_REMOTE_CHUNK, span.nbytes - begin))
        write_all(target, data, offset + begin)
        progress(len(data))


def _compute(payload: Computed, source: Source) -> bytes:
    data = payload.compute(tuple(source.read(span.file, span.start, span.nbytes) for span in payload.inputs))
    if len(data) != payload.nbytes:
        raise ContainerError(
            f"{payload.description} made {len(data)} bytes where {payload.nbytes} were promised"
        )
    return data


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise write_error(error) from error
    finally:
        os.close(handle)
