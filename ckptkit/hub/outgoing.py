"""Files about to leave this machine, and whether they may: the judgement behind every guard and hook.

Whatever the way out (an upload of a folder, of one file, a commit made of operations, a git push), it comes down
to names and contents. Those that make up a checkpoint are judged as one; a part of a checkpoint is completed from
the folder that it lies in, and if that does not help, only what is certain is said: that a shard is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, way_to_fix
from ckptkit.errors import ContainerError, Fault, UploadRefused
from ckptkit.formats import registry as formats
from ckptkit.formats.reading import FilesUnknown
from ckptkit.storage.container import CONFIG_FILE, SHARD_SUFFIX, is_fatal, open_container
from ckptkit.storage.index import INDEX_FILE, MAX_JSON_BYTES, parse_index
from ckptkit.storage.source import BOOKKEEPING, FileEntry, Source

#: Where the bytes of an outgoing file are: on disk, in memory, or behind an open file.
Content: TypeAlias = Path | bytes | BinaryIO


class OutgoingFiles(Source):
    """A source made of outgoing files."""

    def __init__(self, label: str, contents: Mapping[str, Content]) -> None:
        self._label = label
        self._contents = contents
        self._sizes = {name: _size(content) for name, content in contents.items()}

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self._label

    def files(self) -> tuple[FileEntry, ...]:
        """Every file, sorted by name."""
        return tuple(sorted(FileEntry(name, size) for name, size in self._sizes.items()))

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the listing itself."""
        return ()

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        """A range of a file: all of it, or an error."""
        content = self._contents.get(name)
        if content is None:
            raise ContainerError(f"{name} is not among the files of {self._label}")
        stop = self._sizes[name] if nbytes is None else start + nbytes
        try:
            data = _read(content, start, stop - start)
        except OSError as error:
            raise ContainerError(f"{name} cannot be read: {error.strerror or error}") from error
        if len(data) != stop - start:
            raise ContainerError(f"{name} ends before byte {stop}")
        return data

    def local_path(self, name: str) -> Path | None:
        """The file on this machine, where it is on one."""
        content = self._contents[name]
        return content if isinstance(content, Path) else None


def refuse_broken(contents: Mapping[str, Content], label: str) -> None:
    """Raise UploadRefused, with every error, if the files hold a broken FP8 checkpoint or a damaged shard."""
    faults = errors_in(contents, label)
    if faults:
        count = f"{len(faults)} error{'s' if len(faults) > 1 else ''}"
        raise UploadRefused(
            f"{label}: the checkpoint is broken ({count}); nothing was sent",
            faults=faults,
            help=way_to_fix((fault.kind for fault in faults), "FOLDER"),
        )


def errors_in(contents: Mapping[str, Content], label: str) -> list[Fault]:
    """The errors of every checkpoint among the files: each folder that holds shards is one."""
    faults = []
    for folder, group in _by_folder(contents):
        where = f"{label}/{folder}" if folder else label
        for fault in _broken(_completed(group), where, set(group)):
            file = f"{folder}/{fault.file}" if folder and fault.file else fault.file
            faults.append(_placed(fault, file))
    return faults


def _by_folder(contents: Mapping[str, Content]) -> Iterator[tuple[str, dict[str, Content]]]:
    """The folders that hold shards, each with all files under it, by names relative to it."""
    folders = {name.rpartition("/")[0] for name in contents if name.endswith(SHARD_SUFFIX)}
    for folder in sorted(folders):
        prefix = f"{folder}/" if folder else ""
        yield folder, {name[len(prefix) :]: content for name, content in contents.items() if name.startswith(prefix)}


def _completed(group: Mapping[str, Content]) -> dict[str, Content]:
    """The files, and those that they need from the folder on disk that they lie in: config, index, other shards."""
    found = dict(group)
    homes = {content.parent for name, content in group.items() if isinstance(content, Path) and "/" not in name}
    for home in homes:
        for name in (CONFIG_FILE, INDEX_FILE):
            if (home / name).is_file():
                found.setdefault(name, home / name)
        for shard in _indexed(found):
            if "/" not in shard and (home / shard).is_file():
                found.setdefault(shard, home / shard)
    return found


def _indexed(contents: Mapping[str, Content]) -> tuple[str, ...]:
    content = contents.get(INDEX_FILE)
    if content is None or _size(content) > MAX_JSON_BYTES:
        return ()
    try:
        index, _ = parse_index(INDEX_FILE, _read(content, 0, _size(content)))
    except OSError:
        return ()
    return index.shards if index else ()


def _broken(contents: Mapping[str, Content], label: str, outgoing: set[str]) -> list[Fault]:
    container = open_container(OutgoingFiles(label, contents))
    complete = CONFIG_FILE in contents and all(shard in contents for shard in _indexed(contents))
    context = runner.read_context(container)
    if not complete or not concerns_fp8(context):
        return [fault for fault in container.faults if is_fatal(fault) and fault.file in outgoing and _is_shard(fault)]
    report = runner.run(context, Level.SCALES)
    return [finding.to_fault() for finding in report.findings if finding.severity is Severity.ERROR]


def concerns_fp8(context: Context) -> bool:
    """Whether a checkpoint is one to judge: in a format that ckptkit reads, or FP8 weights that nothing declares.

    What has no reader may be sound, and is let through.
    """
    if isinstance(context.reading, FilesUnknown):
        return formats.detect(context.container) is not None
    return context.may_be_fp8


def _is_shard(fault: Fault) -> bool:
    return fault.file is not None and fault.file.endswith(SHARD_SUFFIX)


def _placed(fault: Fault, file: str | None) -> Fault:
    return Fault(fault.kind, fault.message, file, fault.tensor, fault.expected, fault.found, fault.help)


def folder_contents(folder: Path) -> dict[str, Content]:
    """Every file of a folder but version control's, by relative name."""
    found: dict[str, Content] = {}
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not BOOKKEEPING.intersection(parts):
            found["/".join(parts)] = path
    return found


def _size(content: Content) -> int:
    if isinstance(content, Path):
        return content.stat().st_size
    if isinstance(content, bytes):
        return len(content)
    position = content.tell()
    size = content.seek(0, os.SEEK_END)
    content.seek(position)
    return size


def _read(content: Content, start: int, nbytes: int) -> bytes:
    if isinstance(content, bytes):
        return content[start : start + nbytes]
    if isinstance(content, Path):
        with open(content, "rb") as file:
            file.seek(start)
            return file.read(nbytes)
    position = content.tell()
    content.seek(start)
    data = content.read(nbytes)
    content.seek(position)
    return data
