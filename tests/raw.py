"""Checkpoints for tests, written byte by byte: no torch, and no help from the code under test."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.source import FileEntry, Source

INDEX = "model.safetensors.index.json"


class RawTensor(NamedTuple):
    """A tensor as its file sees it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


RawTensors = Mapping[str, RawTensor | tuple[str, tuple[int, ...], bytes]]


def raw_file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header, sound or not: bytes, JSON text, or a value to be written as JSON."""
    if isinstance(header, bytes):
        text = header
    elif isinstance(header, str):
        text = header.encode("utf-8", "surrogatepass")
    else:
        text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def shard_bytes(tensors: RawTensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """A sound safetensors file that holds the tensors in the given order."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    parts: list[bytes] = []
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    return raw_file(header, b"".join(parts))


def index_bytes(shards: Mapping[str, RawTensors]) -> bytes:
    """The index of a checkpoint with these shards."""
    total = sum(len(data) for tensors in shards.values() for _, _, data in tensors.values())
    weight_map = {name: shard for shard, tensors in shards.items() for name in tensors}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}).encode("utf-8")


def checkpoint_files(shards: Mapping[str, RawTensors], config: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The files of a checkpoint by name: shards, config and, with more than one shard, an index."""
    files = {name: shard_bytes(tensors) for name, tensors in shards.items()}
    files["config.json"] = json.dumps(config or {}).encode("utf-8")
    if len(shards) > 1:
        files[INDEX] = index_bytes(shards)
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder, which is returned."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


class MemorySource(Source):
    """A source whose files are bytes in memory; it notes each read."""

    def __init__(self, files: Mapping[str, bytes], *, label: str = "memory") -> None:
        self.contents = dict(files)
        self._label = label
        self.reads: list[tuple[str, int, int]] = []

    @property
    def label(self) -> str:
        return self._label

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(sorted(FileEntry(name, len(data)) for name, data in self.contents.items()))

    def faults(self) -> tuple[Fault, ...]:
        return ()

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        if name not in self.contents:
            raise ContainerError(f"{name} is not among the files of {self.label}")
        stop = len(self.contents[name]) if nbytes is None else start + nbytes
        if stop > len(self.contents[name]):
            raise ContainerError(f"{name} ends before byte {stop}")
        self.reads.append((name, start, stop - start))
        return self.contents[name][start:stop]

    def local_path(self, name: str) -> Path | None:
        return None
