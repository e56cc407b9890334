"""Writing a fixed checkpoint: into a new folder, or into the same one file by file."""

from __future__ import annotations

from pathlib import Path

from ckptkit.checks.fixing import Fixes
from ckptkit.errors import OutputError
from ckptkit.operations.stream import stream
from ckptkit.storage.container import open_container, read_headers
from ckptkit.storage.output import VirtualContainer
from ckptkit.storage.replace import replacing
from ckptkit.storage.source import LocalSource, Source
from ckptkit.storage.staging import check_destination, confirm, staging, sync_folders
from ckptkit.storage.traffic import OnBytes, nobody_counts
from ckptkit.storage.writer import file_sizes, write_container


def write_copy(
    fixes: Fixes,
    source: Source,
    destination: Path,
    *,
    jobs: int = 2,
    fsync: bool = True,
    on_write: OnBytes = nobody_counts,
) -> None:
    """Write the whole fixed checkpoint into a new folder, which appears complete or not at all."""
    output = fixes.workspace.virtual()
    check_destination(destination, source.root, sum(file_sizes(output).values()))
    with staging(destination) as folder:
        _write(output, source, folder, jobs, fsync, on_write)
        wanted = {fault.kind for fault in fixes.workspace.reopened().faults}
        if {fault.kind for fault in open_container(LocalSource(folder)).faults} != wanted:
            raise OutputError(f"{destination}: what was written cannot be read back as it was meant")
        if fsync:
            sync_folders(folder)
    if fsync:
        confirm(f"{destination} is complete", [destination.resolve().parent])


def write_in_place(
    fixes: Fixes,
    source: Source,
    root: Path,
    *,
    jobs: int = 2,
    fsync: bool = True,
    on_write: OnBytes = nobody_counts,
) -> None:
    """Replace the files that differ. Weights are copied by the kernel, never rewritten where they are."""
    output = fixes.workspace.virtual(changed_only=True)
    if not output.shards and not output.files:
        return
    with replacing(root, source.state) as folder:
        _write(output, source, folder, jobs, fsync, on_write)
        _require_written(output, folder)


def _write(output: VirtualContainer, source: Source, folder: Path, jobs: int, fsync: bool, on_write: OnBytes) -> None:
    """Write files, telling how far that is."""
    total = sum(file_sizes(output).values())
    on_write(0, total)
    write_container(
        output, source, folder, stream=stream, jobs=jobs, fsync=fsync, progress=lambda nbytes: on_write(nbytes, total)
    )


def _require_written(output: VirtualContainer, folder: Path) -> None:
    """Every staged file must be there in the promised size, and every shard readable."""
    sizes = file_sizes(output)
    staged = LocalSource(folder)
    if dict(staged.files()) != sizes:
        raise OutputError("what was staged is not what was planned")
    shards = {shard.file for shard in output.shards}
    headers = read_headers(staged, [entry for entry in staged.files() if entry.name in shards])
    if not all(header.readable for header in headers):
        raise OutputError("a staged shard cannot be read back")
