"""A container: the parsed headers, index, config and file list of a folder, with no meaning attached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.header import Header, header_length, header_length_faults, parse_header, paused_gc
from ckptkit.storage.index import INDEX_FILE, Index, parse_index, parse_json_object
from ckptkit.storage.payload import ByteRange, TensorRef
from ckptkit.storage.source import FileEntry, Source

CONFIG_FILE = "config.json"
SHARD_SUFFIX = ".safetensors"

#: One read usually brings the whole header of a small shard; a larger one costs a second read.
_FIRST_READ = 1 << 16

#: Faults under which a shard's bytes cannot be trusted: nothing may be converted or uploaded.
FATAL_PREFIXES = (
    "header-",
    "data-",
    "lfs-pointer",
    "file-empty",
    "index-",
    "json-",
    "shard-",
    "outside-folder",
)
NOT_FATAL = frozenset(
    {
        "header-duplicate-key",
        "header-unknown-field",
        "json-duplicate-key",
        "index-total-size",
        "index-absent",
        "shard-unlisted",
        "index-unlisted-tensor",
    }
)


def is_fatal(fault: Fault) -> bool:
    """Whether a fault makes the stored bytes untrustworthy, so that only reporting is left to do."""
    return fault.kind.startswith(FATAL_PREFIXES) and fault.kind not in NOT_FATAL


@dataclass(frozen=True)
class Container:
    """Headers, raw JSON and the other files of one checkpoint.

    ``headers`` holds the shards that belong to the model, in name order; ``side_files`` everything else but
    config and index. ``faults`` is all that is wrong with files, headers and index.
    """

    source: Source
    headers: tuple[Header, ...]
    index: Index | None
    config: Mapping[str, Any]
    side_files: tuple[FileEntry, ...]
    faults: tuple[Fault, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        return self.source.label

    @cached_property
    def tensors(self) -> dict[str, TensorRef]:
        """Every tensor by name; where two shards hold one name, the one that the index names wins."""
        if len(self.headers) == 1:
            return self.headers[0].tensors
        merged: dict[str, TensorRef] = {}
        for header in self.headers:
            merged.update(header.tensors)
        if self.index is not None and len(merged) != sum(len(header.tensors) for header in self.headers):
            for header in self.headers:
                for name, tensor in header.tensors.items():
                    if self.index.weight_map.get(name) == header.shard:
                        merged[name] = tensor
        return merged

    @property
    def data_bytes(self) -> int:
        """Bytes of tensor data over all shards."""
        return sum(tensor.nbytes for header in self.headers for tensor in header.tensors.values())

    def read(self, tensor: TensorRef) -> bytes:
        """The bytes of one tensor."""
        return self.source.read(tensor.shard, tensor.start, tensor.nbytes)

    def read_range(self, span: ByteRange) -> bytes:
        """The bytes of a range of any file."""
        return self.source.read(span.file, span.start, span.nbytes)

    def read_many(self, tensors: Iterable[TensorRef]) -> Iterator[tuple[TensorRef, bytes]]:
        """Read many small tensors, in file order, neighbours joined into one read of at most 1 MiB."""
        ordered = sorted(tensors, key=lambda tensor: (tensor.shard, tensor.start))
        position = 0
        while position < len(ordered):
            first = ordered[position]
            last = position
            while last + 1 < len(ordered) and _joins(first, ordered[last], ordered[last + 1]):
                last += 1
            stop = max(tensor.stop for tensor in ordered[position : last + 1])
            data = self.source.read(first.shard, first.start, stop - first.start)
            for tensor in ordered[position : last + 1]:
                begin = tensor.start - first.start
                yield tensor, data[begin : begin + tensor.nbytes]
            position = last + 1

    def raise_if_damaged(self) -> None:
        """Raise with every fatal fault, if there is one."""
        fatal = [fault for fault in self.faults if is_fatal(fault)]
        if fatal:
            count = f"{len(fatal)} fault{'s' if len(fatal) > 1 else ''}"
            raise ContainerError(f"{self.label}: the checkpoint's files are damaged ({count})", faults=fatal)


def _joins(first: TensorRef, previous: TensorRef, candidate: TensorRef) -> bool:
    near = candidate.start - previous.stop <= 4096
    return candidate.shard == first.shard and near and candidate.stop - first.start <= 1 << 20


def open_container(source: Source) -> Container:
    """List a source, parse every header and compare them with the index; faults are collected, not raised.

    Raises ContainerError only when there is nothing to judge: no safetensors file at all.
    """
    entries = {entry.name: entry for entry in source.files()}
    faults = list(source.faults())
    index: Index | None = None
    if INDEX_FILE in entries:
        index, found = parse_index(INDEX_FILE, source.read(INDEX_FILE))
        faults += found
    config: dict[str, Any] = {}
    if CONFIG_FILE in entries:
        parsed, found = parse_json_object(CONFIG_FILE, source.read(CONFIG_FILE))
        config = parsed or {}
        faults += found
    else:
        faults.append(Fault("config-absent", "the folder has no config.json", CONFIG_FILE))
    shards, found = _choose_shards(entries, index)
    faults += found
    if not shards and not any(is_fatal(fault) for fault in faults):
        raise _no_shards(source, entries)
    with paused_gc():
        headers = read_headers(source, [entries[name] for name in shards])
    for header in headers:
        faults += header.faults
    faults += _name_faults(headers, index)
    known = {*shards, INDEX_FILE, CONFIG_FILE}
    side_files = tuple(entry for name, entry in entries.items() if name not in known)
    readable = tuple(header for header in headers if header.data_start)
    return Container(source, readable, index, config, side_files, tuple(faults))


def read_headers(source: Source, shards: list[FileEntry]) -> list[Header]:
    """Parse the headers of shards, in order. A shard whose length field is wrong gets an empty header."""
    if len(shards) > 1 and source.local_path(shards[0].name) is None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda shard: _read_header(source, shard), shards))
    return [_read_header(source, shard) for shard in shards]


def _read_header(source: Source, shard: FileEntry) -> Header:
    first = source.read(shard.name, 0, min(_FIRST_READ, shard.size))
    found = header_length_faults(shard.name, first, shard.size)
    if found:
        return Header(shard.name, 0, shard.size, {}, None, tuple(found))
    length = header_length(first)
    raw = first[8 : 8 + length]
    if len(raw) < length:
        raw += source.read(shard.name, len(first), length - len(raw))
    return parse_header(shard.name, raw, shard.size)


def _choose_shards(entries: Mapping[str, FileEntry], index: Index | None) -> tuple[list[str], list[Fault]]:
    """Which safetensors files make up the model: those of the index, or else those at the top level."""
    faults: list[Fault] = []
    present = sorted(name for name in entries if name.endswith(SHARD_SUFFIX) and "/" not in name)
    if index is None:
        if len(present) > 1:
            faults.append(
                Fault(
                    "index-absent",
                    f"{len(present)} shards but no {INDEX_FILE}",
                    INDEX_FILE,
                    help="transformers cannot load several shards without an index; rebuild it",
                )
            )
        return present, faults
    wanted = index.shards
    faults += [
        Fault(
            "shard-missing",
            "the index names a shard that is not in the folder",
            shard,
            help="the download broke off; fetch the shard again",
        )
        for shard in wanted
        if shard not in entries
    ]
    faults += [
        Fault("shard-unlisted", "a weight file that the index does not name", name)
        for name in present
        if name not in wanted
    ]
    return [shard for shard in wanted if shard in entries], faults


def _name_faults(headers: list[Header], index: Index | None) -> list[Fault]:
    """Tensor names over all shards against each other and against the index."""
    faults: list[Fault] = []
    if sum(len(header.tensors) for header in headers) != len({name for h in headers for name in h.tensors}):
        owner: dict[str, str] = {}
        for header in headers:
            for name in header.tensors:
                if name in owner:
                    message = (
                        f"the tensor is stored in {owner[name]} too; loaders keep the last one they meet"
                    )
                    faults.append(Fault("shard-duplicate-tensor", message, header.shard, name))
                owner[name] = header.shard
    if index is None:
        return faults
    shards = {header.shard: header for header in headers}
    weight_map = index.weight_map
    matched = 0
    for name, shard in weight_map.items():
        found = shards.get(shard)
        if found is None or not found.data_start:
            continue
        if name in found.tensors:
            matched += 1
            continue
        elsewhere = next((h.shard for h in headers if name in h.tensors), None)
        faults.append(
            Fault(
                "index-tensor-missing",
                "the index places a tensor in a shard that does not hold it",
                index.file,
                name,
                expected=f"in {shard}",
                found=f"in {elsewhere}" if elsewhere else "in no shard",
            )
        )
    if matched != sum(len(header.tensors) for header in headers):
        faults += [
            Fault("index-unlisted-tensor", "a stored tensor that the index does not list", header.shard, name)
            for header in headers
            for name in header.tensors
            if name not in weight_map
        ]
    declared = index.metadata.get("total_size")
    actual = sum(tensor.nbytes for header in headers for tensor in header.tensors.values())
    if (
        declared != actual
        and all(header.data_start for header in headers)
        and len(shards) == len(index.shards)
    ):
        faults.append(
            Fault(
                "index-total-size",
                "metadata.total_size is not the size of the tensors",
                index.file,
                expected=f"{actual}",
                found=f"{declared}",
                help="rewrite the index",
            )
        )
    return faults


def _no_shards(source: Source, entries: Mapping[str, FileEntry]) -> ContainerError:
    other = sorted(
        {name.rpartition(".")[2] for name in entries if name.endswith((".bin", ".gguf", ".pt", ".pth"))}
    )
    help_text = "give a folder with *.safetensors files"
    if other:
        help_text = f"ckptkit reads safetensors only; this folder holds .{', .'.join(other)} files"
    return ContainerError(f"{source.label}: no safetensors files here", help=help_text)
