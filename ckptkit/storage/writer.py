"""The only code that writes checkpoints: a virtual container becomes files in a folder.

Files are written side by side, each by one worker from front to back: two writers in one file only wait for its
lock. Nothing here decides anything: names, shapes and order are all in the virtual container, and how bytes are
computed is handed in. A file is a job that any process can do; :func:`write_container` deals jobs to threads of this
process or to any executor.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ckptkit.errors import ContainerError, OutputError
from ckptkit.record import record
from ckptkit.storage.copy import Cancelled, Copier, Method, Transfer, write_all, write_error
from ckptkit.storage.destination import DestinationTraits
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.index import is_inside
from ckptkit.storage.kernel import allocate, keep_freed_memory
from ckptkit.storage.output import Job, VirtualContainer
from ckptkit.storage.payload import ByteRange, Computed, Data, Inline, Payload, Stream
from ckptkit.storage.source import Source

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

_REMOTE_CHUNK = 1 << 23
#: The most bytes of what is computed that are written at a time: the page cache is slow to find room for more at once.
_WRITTEN = 1 << 20

Progress = Callable[[int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@record
class Settings:
    """How files are written: ``methods`` of copying that may work here; whether files are synced.

    ``sharing``: blocks are taken over from the source, so that none need be reserved.
    """

    methods: tuple[Method, ...]
    sharing: bool
    fsync: bool


def file_sizes(container: VirtualContainer) -> dict[str, int]:
    """The size in bytes of every file to be written."""
    return {job.file: job.size for job in container.jobs}


def write_container(
    container: VirtualContainer,
    source: Source,
    folder: Path,
    *,
    stream: Stream,
    jobs: int = 2,
    fsync: bool = True,
    progress: Progress = lambda nbytes: None,
    executor: Executor | None = None,
) -> dict[Method, int]:
    """Write every file of a virtual container into an empty folder; how many bytes were moved by which method.

    Without an ``executor``, ``jobs`` threads of this process do it. An executor gets one task for each file, and
    everything in a task can be pickled if ``source`` can; ``progress`` then hears of whole files.

    Raises ContainerError when a source file cannot be read, SourceChanged when one is not any more what it was when the
    source was listed, or changes meanwhile, and OutputError when writing fails.
    """
    before = _source_state(container, source)
    require_unchanged(before, "read")
    if any(isinstance(payload, Computed) for shard in container.shards for payload in shard.payloads):
        keep_freed_memory()
    ordered = sorted(container.jobs, key=lambda job: -job.size)
    sample = max(before, key=lambda path: before[path].size, default=None)
    traits = DestinationTraits(folder, sample)
    settings = Settings(traits.methods, traits.shares_blocks, fsync)
    root = source.root
    if root is not None:
        with suppress(OSError):  # some mounts have one mode for all; every file is made with its own
            folder.chmod(folder.stat().st_mode & _audience(root.stat().st_mode))
    if executor is None:
        moved = _in_threads(ordered, source, folder, settings, stream, jobs, progress)
    else:
        moved = _in_executor(ordered, source, folder, settings, stream, executor, progress)
    require_unchanged(before, "copied")
    return {method: moved[method] for method in Method}


def write_job(job: Job, source: Source, folder: Path, settings: Settings, stream: Stream) -> dict[Method, int]:
    """Write one file in whatever process this is; how many bytes were moved by which method."""
    copier = Copier(settings.methods, write_back=settings.fsync)
    _write_file(job, source, folder, copier, settings, stream, lambda nbytes: None)
    return copier.moved


def _in_threads(
    ordered: list[Job],
    source: Source,
    folder: Path,
    settings: Settings,
    stream: Stream,
    jobs: int,
    progress: Progress,
) -> Counter[Method]:
    """Work through the jobs with threads that share what they learn and stop when one of them fails."""
    copier = Copier(settings.methods, write_back=settings.fsync)
    work = partial(
        _write_file, source=source, folder=folder, copier=copier, settings=settings, stream=stream, progress=progress
    )
    _run(jobs, copier, work, ordered)
    return Counter(copier.moved)


def _run(jobs: int, copier: Copier, work: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Do work on items in ``jobs`` threads, or in this one if that is enough."""
    if min(jobs, len(items)) < 2:
        for item in items:
            work(item)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs, thread_name_prefix="ckptkit") as pool, _stopping(copier):
        _collect([pool.submit(work, item) for item in items])


@contextmanager
def _stopping(copier: Copier) -> Iterator[None]:
    """Whatever ends the block early, Ctrl-C too, stops running copies at their next chunk."""
    try:
        yield
    except BaseException:
        copier.cancel()
        raise


def _in_executor(
    ordered: list[Job],
    source: Source,
    folder: Path,
    settings: Settings,
    stream: Stream,
    executor: Executor,
    progress: Progress,
) -> Counter[Method]:
    """Hand every job to somebody else's executor."""
    moved: Counter[Method] = Counter()
    tasks: list[Future[dict[Method, int]]] = []
    for job in ordered:
        task = executor.submit(write_job, job, source, folder, settings, stream)
        task.add_done_callback(partial(_report, progress, job.size))
        tasks.append(task)
    try:
        for done in _collect(tasks):
            moved.update(done)
    finally:
        _wait(tasks)  # nothing may still write into a folder that is about to vanish
    return moved


def _report(progress: Progress, nbytes: int, task: Future[dict[Method, int]]) -> None:
    if not task.cancelled() and task.exception() is None:
        progress(nbytes)


def _collect(tasks: list[Future[Result]]) -> list[Result]:
    """Every result. The first failure, or Ctrl-C, cancels what has not begun, and is raised when all have stopped."""
    try:
        _wait(tasks, "FIRST_EXCEPTION")
        failures = [error for task in tasks if task.done() and (error := task.exception()) is not None]
        if failures:
            raise next((error for error in failures if not isinstance(error, Cancelled)), failures[0])
        return [task.result() for task in tasks]
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _wait(tasks: list[Future[Result]], until: str = "ALL_COMPLETED") -> None:
    """Wait for tasks. The library behind it is imported only where somebody waits."""
    from concurrent.futures import wait

    wait(tasks, return_when=until)


def _source_state(container: VirtualContainer, source: Source) -> dict[Path, FileState]:
    """Every local file that is copied from, or that was listed, as it was then, or as it is now where nobody looked."""
    copied = {name for job in container.jobs for name in _files_of(job)}
    state: dict[Path, FileState] = {}
    for name in copied | {entry.name for entry in source.files() if source.state(entry.name)}:
        path = source.local_path(name)
        if path is not None:
            state[path] = source.state(name) or _state_of(path)
    return state


def require_unchanged(before: Mapping[Path, FileState], done: str) -> None:
    """Raise SourceChanged where a file is not what it was before it was ``done``: read, copied."""
    for path, state in before.items():
        if _state_of(path) != state:
            raise source_changed(path, done)


def _state_of(path: Path) -> FileState:
    try:
        return FileState.of(path.stat())
    except OSError as error:
        raise ContainerError(f"{path} cannot be read: {error.strerror}") from error


def _files_of(job: Job) -> set[str]:
    """The source files that a job reads."""
    names: set[str] = set()
    for payload in job.payloads:
        if isinstance(payload, ByteRange):
            names.add(payload.file)
        elif isinstance(payload, Computed):
            names.update(tensor.shard for tensor in payload.inputs)
    return names


def _write_file(
    job: Job,
    source: Source,
    folder: Path,
    copier: Copier,
    settings: Settings,
    stream: Stream,
    progress: Progress,
) -> dict[Method, int]:
    """Write one file that does not exist yet, from front to back."""
    if not is_inside(job.file):
        raise OutputError(f"{job.file!r} is not the name of a file inside a checkpoint folder")
    path = folder / job.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(job, source))
    except OSError as error:
        raise write_error(error, job.file) from error
    try:
        (os.ftruncate if settings.sharing else allocate)(target, job.size)
        offset = 0
        for payload in job.payloads:
            copier.check()
            if isinstance(payload, ByteRange):
                _copy_range(payload, source, target, offset, copier, progress)
            else:
                _write_pieces(_pieces(payload, source, stream), payload, target, offset, copier, progress)
            offset += payload.nbytes
        if settings.fsync:
            os.fsync(target)
    except OSError as error:
        raise write_error(error, job.file) from error
    finally:
        os.close(target)
    return copier.moved


def _mode(job: Job, source: Source) -> int:
    """The permissions of a new file: nobody may read it who could not read what it was made from."""
    mode = 0o666
    for path in map(source.local_path, {job.file} | _files_of(job)):
        if path is not None:
            with suppress(OSError):
                mode &= _audience(path.stat().st_mode)
    return mode


def _audience(mode: int) -> int:
    """Everything for the owner, and for the group and for others where they may read."""
    return 0o700 | (0o070 if mode & 0o040 else 0) | (0o007 if mode & 0o004 else 0)


def _copy_range(span: ByteRange, source: Source, target: int, offset: int, copier: Copier, progress: Progress) -> None:
    path = source.local_path(span.file)
    if path is None:
        _write_pieces(_remote_pieces(span, source), span, target, offset, copier, progress)
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ContainerError(f"{path} cannot be read: {error.strerror}") from error
    try:
        copier.copy(Transfer(handle, span.start, target, offset, span.nbytes), progress)
    finally:
        os.close(handle)


def _remote_pieces(span: ByteRange, source: Source) -> Iterator[bytes]:
    for begin in range(0, span.nbytes, _REMOTE_CHUNK):
        yield source.read(span.file, span.start + begin, min(_REMOTE_CHUNK, span.nbytes - begin))


def _pieces(payload: Inline | Computed, source: Source, stream: Stream) -> Iterable[Data]:
    return (payload.data,) if isinstance(payload, Inline) else stream(payload, source, 0, payload.nbytes)


def _write_pieces(
    pieces: Iterable[Data], payload: Payload, target: int, offset: int, copier: Copier, progress: Progress
) -> None:
    """Write a payload piece by piece, and hold it to the size that it promised."""
    done = 0
    for data in pieces:
        copier.check()
        done += len(data)
        if done > payload.nbytes:
            break
        start = offset + done - len(data)
        for begin in range(0, len(data), _WRITTEN):
            write_all(target, data[begin : begin + _WRITTEN], start + begin)
        progress(len(data))
    if done != payload.nbytes:
        what = payload.operation if isinstance(payload, Computed) else "the source"
        more = " or more" if done > payload.nbytes else ""
        raise ContainerError(f"{what} gave {done}{more} bytes where {payload.nbytes} were promised")
