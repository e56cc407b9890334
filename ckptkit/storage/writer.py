"""The only code that writes checkpoints: a virtual container becomes files in a folder.

Files are written side by side, each by one worker from front to back: two writers in one file only wait for its
lock. Nothing here decides anything: names, shapes and order are all in the virtual container.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

from ckptkit.errors import ContainerError, OutputError
from ckptkit.storage.copy import Cancelled, Copier, Method, Transfer, shares_blocks, write_all, write_error
from ckptkit.storage.header import build_header
from ckptkit.storage.index import is_inside
from ckptkit.storage.kernel import allocate
from ckptkit.storage.payload import ByteRange, Computed, Inline, OutputShard, Payload, VirtualContainer
from ckptkit.storage.source import Source

_REMOTE_CHUNK = 1 << 23

Progress = Callable[[int], None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class _File:
    """A file to be written: what it consists of, from front to back."""

    name: str
    size: int
    payloads: tuple[Payload, ...]


def file_sizes(container: VirtualContainer) -> dict[str, int]:
    """The size in bytes of every file to be written."""
    return {file.name: file.size for file in _files(container)}


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
    """Write every file of a virtual container into an empty folder; the copier says how bytes were moved.

    Raises ContainerError when a source file cannot be read or changes meanwhile, OutputError when writing fails.
    """
    before = _source_state(container, source)
    files = sorted(_files(container), key=lambda file: -file.size)
    sample = max(before, key=lambda path: before[path][1], default=None)
    sharing = sample is not None and shares_blocks(sample, folder)
    methods = [method for method in Method if sharing or method is not Method.REFLINK]
    copier = Copier(tuple(methods), write_back=fsync)
    root = getattr(source, "root", None)
    if root is not None:
        folder.chmod(folder.stat().st_mode & _audience(root.stat().st_mode))

    def write(file: _File) -> None:
        # Blocks that are taken over from the source need not be reserved.
        reserve = os.ftruncate if sharing else allocate
        _write_file(file, source, folder, copier, progress, reserve=reserve, fsync=fsync)

    _run(jobs, copier, write, files)
    if _source_state(container, source) != before:
        raise ContainerError(f"{source.label} changed while it was copied", help="convert it again when it is complete")
    return copier


def _run(jobs: int, copier: Copier, work: Callable[[Item], None], items: Collection[Item]) -> None:
    """Do work on items in this thread and ``jobs - 1`` others.

    The first failure, or Ctrl-C, stops the others at their next chunk, and is raised when all have stopped.
    """
    queue, taking = iter(items), Lock()
    failures: list[BaseException] = []

    def labour() -> None:
        try:
            while not failures:
                with taking:
                    try:
                        item = next(queue)
                    except StopIteration:
                        return
                work(item)
        except BaseException as error:
            failures.append(error)
            copier.cancel()

    others = [Thread(target=labour, name=f"ckptkit-{number}") for number in range(1, min(jobs, len(items)))]
    try:
        for thread in others:
            thread.start()
        labour()
        for thread in others:
            thread.join()
    except BaseException:
        copier.cancel()
        for thread in others:
            if thread.ident is not None:
                thread.join()
        raise
    if failures:
        raise next((error for error in failures if not isinstance(error, Cancelled)), failures[0])


def _source_state(container: VirtualContainer, source: Source) -> dict[Path, tuple[int, int, int]]:
    """Identity, size and time of change of every local file that is copied from."""
    state = {}
    for name in {span.file for span in _source_ranges(container)}:
        path = source.local_path(name)
        if path is not None:
            try:
                found = path.stat()
            except OSError as error:
                raise ContainerError(f"{path} cannot be read: {error.strerror}") from error
            state[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return state


def _source_ranges(container: VirtualContainer) -> Iterator[ByteRange]:
    payloads: list[Payload] = [tensor.payload for shard in container.shards for tensor in shard.tensors]
    payloads += [item.payload for item in container.files]
    for payload in payloads:
        if isinstance(payload, ByteRange):
            yield payload
        elif isinstance(payload, Computed):
            yield from payload.inputs


def _files(container: VirtualContainer) -> Iterator[_File]:
    for shard in container.shards:
        header = shard_header(shard)
        payloads = coalesce(tensor.payload for tensor in shard.tensors)
        yield _File(shard.file, len(header) + shard.data_bytes, (Inline(header), *payloads))
    for item in container.files:
        yield _File(item.file, item.payload.nbytes, (item.payload,))


def coalesce(payloads: Iterable[Payload]) -> Iterator[Payload]:
    """Join byte ranges that follow each other in the source: a renamed shard becomes one range."""
    pending: ByteRange | None = None
    for payload in payloads:
        if not isinstance(payload, ByteRange):
            if pending is not None:
                yield pending
                pending = None
            yield payload
        elif pending is not None and payload.file == pending.file and payload.start == pending.start + pending.nbytes:
            pending = ByteRange(pending.file, pending.start, pending.nbytes + payload.nbytes)
        else:
            if pending is not None:
                yield pending
            pending = payload
    if pending is not None:
        yield pending


def _write_file(
    file: _File,
    source: Source,
    folder: Path,
    copier: Copier,
    progress: Progress,
    *,
    reserve: Callable[[int, int], None],
    fsync: bool,
) -> None:
    """Write one file that does not exist yet, from front to back."""
    if not is_inside(file.name):
        raise OutputError(f"{file.name!r} is not the name of a file inside a checkpoint folder")
    path = folder / file.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(file, source))
    except OSError as error:
        raise write_error(error, file.name) from error
    try:
        reserve(target, file.size)
        offset = 0
        for payload in file.payloads:
            copier.check()
            if isinstance(payload, ByteRange):
                _copy_range(payload, source, target, offset, copier, progress)
            else:
                data = payload.data if isinstance(payload, Inline) else _compute(payload, source)
                write_all(target, data, offset)
                progress(len(data))
            offset += payload.nbytes
        if fsync:
            os.fsync(target)
    except OSError as error:
        raise write_error(error, file.name) from error
    finally:
        os.close(target)


def _mode(file: _File, source: Source) -> int:
    """The permissions of a new file: nobody may read it who could not read what it was made from."""
    names = {file.name}
    for payload in file.payloads:
        spans = (payload,) if isinstance(payload, ByteRange) else getattr(payload, "inputs", ())
        names.update(span.file for span in spans)
    mode = 0o666
    for path in map(source.local_path, names):
        if path is not None:
            with suppress(OSError):
                mode &= _audience(path.stat().st_mode)
    return mode


def _audience(mode: int) -> int:
    """Everything for the owner, and for the group and for others where they may read."""
    return 0o700 | (0o070 if mode & 0o040 else 0) | (0o007 if mode & 0o004 else 0)


def _copy_range(span: ByteRange, source: Source, target: int, offset: int, copier: Copier, progress: Progress) -> None:
    path = source.local_path(span.file)
    if path is not None:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ContainerError(f"{path} cannot be read: {error.strerror}") from error
        try:
            copier.copy(Transfer(handle, span.start, target, offset, span.nbytes), progress)
        finally:
            os.close(handle)
        return
    for begin in range(0, span.nbytes, _REMOTE_CHUNK):
        copier.check()
        data = source.read(span.file, span.start + begin, min(_REMOTE_CHUNK, span.nbytes - begin))
        write_all(target, data, offset + begin)
        progress(len(data))


def _compute(payload: Computed, source: Source) -> bytes:
    data = payload.compute(tuple(source.read(span.file, span.start, span.nbytes) for span in payload.inputs))
    if len(data) != payload.nbytes:
        raise ContainerError(f"{payload.description} made {len(data)} bytes where {payload.nbytes} were promised")
    return data
