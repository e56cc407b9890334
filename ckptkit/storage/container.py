"""A container: the parsed headers, index, config and file list of a folder, with no meaning attached."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from ckptkit.errors import CkptkitError, ContainerError, Fault, SourceChanged, plural
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.agreement import UNLISTED, choose_shards, compare_names
from ckptkit.storage.below import checkpoints_below, hint
from ckptkit.storage.header import Header, header_length, header_length_faults, parse_header
from ckptkit.storage.header_faults import TOLERATED
from ckptkit.storage.index import INDEX_FILE, MAX_JSON_BYTES, Index, parse_index, parse_json_object
from ckptkit.storage.index import SHARD_SUFFIX as SHARD_SUFFIX
from ckptkit.storage.payload import ByteRange, TensorRef
from ckptkit.storage.source import FileEntry, Source
from ckptkit.storage.untrusted import MOST_SIDE_BYTES

CONFIG_FILE = "config.json"

#: Why the system refuses to read a file that may well be sound: permissions, and a failing disk.
_NOT_OUR_FAULT = frozenset({errno.EACCES, errno.EPERM, errno.EIO})

#: From so many shards on, one is read first to see how long headers are, and what the others are given more than that.
_FEW_SHARDS = 8
_SPARE = 1.05

#: An entry of a header beside its tensor's name: dtype, shape, and offsets of up to 12 digits.
_ENTRY_BYTES = 100

#: The longest read of neighbouring tensors.
_LONGEST_RUN = 1 << 20
#: Shard and offset of a tensor.
_PLACE = itemgetter(3, 4)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Faults under which a shard's bytes cannot be trusted: nothing may be converted or uploaded.
FATAL_PREFIXES = (
    *("header-", "data-", "lfs-pointer", "page-for-shard", "file-empty", "file-unreadable"),
    *("index-", "json-", "shard-", "outside-folder"),
)
NOT_FATAL = TOLERATED | {
    "json-duplicate-key",
    "index-total-size",
    "index-absent",
    UNLISTED,
    "index-unlisted-tensor",
}


def is_fatal(fault: Fault) -> bool:
    """Whether a fault makes the stored bytes untrustworthy, so that only reporting is left to do."""
    return fault.kind.startswith(FATAL_PREFIXES) and fault.kind not in NOT_FATAL


class Neighbours(NamedTuple):
    """Tensors of one shard that are read at once, in file order; ``gapless`` where each begins as the last one ends."""

    tensors: list[TensorRef]
    span: ByteRange
    gapless: bool


@contextmanager
def paused_gc() -> Iterator[None]:
    """Stop the cyclic collector: parsing 100,000 entries would trigger it hundreds of times for nothing.

    What was made meanwhile joins the oldest generation, or else the collector would walk it all right afterwards.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # otherwise the caller keeps frozen objects, which are not ours to thaw
            gc.freeze()
            gc.unfreeze()
        gc.enable()


@record(repr=False)
class Container(Shown):
    """Headers, raw JSON and the other files of one checkpoint.

    ``headers`` holds the shards that belong to the model, in name order; ``side_files`` everything else but
    config and index. ``faults`` is all that is wrong with files, headers and index.
    """

    source: Source
    headers: tuple[Header, ...]
    index: Index | None
    config: Mapping[str, Any]
    side_files: tuple[FileEntry, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.source.label

    def _look(self) -> Look:
        facts = [plural(len(self.headers), "shard"), plural(len(self.tensors), "tensor")]
        if self.faults:
            facts.append(plural(len(self.faults), "fault"))
        rows = (
            (header.shard, len(header.tensors), sum(tensor.nbytes for tensor in header.tensors.values()))
            for header in self.headers
        )
        return Look(self.label, facts, ("shard", "tensors", "bytes"), rows, len(self.headers))

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

    def side_file(self, name: str, most: int = MOST_SIDE_BYTES) -> bytes | None:
        """A side file, whole; None where there is none.

        Raises ContainerError when it has more than ``most`` bytes, of which not one is read then.
        """
        size = next((entry.size for entry in self.side_files if entry.name == name), None)
        if size is None:
            return None
        if size > most:
            raise ContainerError(f"{self.label}/{name} has {size:,} bytes, more than the {most:,} that are read")
        return self.source.read(name)

    def json_file(self, name: str) -> tuple[dict[str, Any] | None, list[Fault]]:
        """A side file as JSON, and what is wrong with it as such, read once; None for one that is not there, too large,
        or no object."""
        if name not in self._json_files:
            try:
                data = self.side_file(name)
            except CkptkitError:
                data = None
            self._json_files[name] = (None, []) if data is None else parse_json_object(name, data)
        return self._json_files[name]

    @cached_property
    def _json_files(self) -> dict[str, tuple[dict[str, Any] | None, list[Fault]]]:
        return {}

    def read_range(self, span: ByteRange) -> bytes:
        """The bytes of a range of any file."""
        return self.source.read(span.file, span.start, span.nbytes)

    def read_many(self, tensors: Iterable[TensorRef]) -> Iterator[tuple[TensorRef, bytes]]:
        """Read many small tensors, in file order, neighbours joined into one read of at most 1 MiB.

        The source's traits say how large a hole is cheaper to read than to ask around, and how many ranges to ask for
        at once.
        """
        for run, data in self.read_runs(self.runs(tensors)):
            first = run.span.start
            for tensor in run.tensors:
                begin = tensor.start - first
                yield tensor, data[begin : begin + tensor.nbytes]

    def runs(self, tensors: Iterable[TensorRef]) -> list[Neighbours]:
        """What :meth:`read_many` reads at once, in file order."""
        return list(_joined(sorted(tensors, key=_PLACE), self.source.traits.gap))

    def read_runs(self, runs: list[Neighbours]) -> Iterator[tuple[Neighbours, bytes]]:
        """Neighbours, each with the bytes of their span."""
        spans = [run.span for run in runs]
        return zip(runs, in_parallel(self.source, self.read_range, spans), strict=True)

    def raise_if_damaged(self) -> None:
        """Raise with every fatal fault, if there is one."""
        fatal = [fault for fault in self.faults if is_fatal(fault)]
        if fatal:
            count = f"{len(fatal)} fault{'s' if len(fatal) > 1 else ''}"
            raise ContainerError(f"{self.label}: the checkpoint's files are damaged ({count})", faults=fatal)


def _joined(ordered: list[TensorRef], gap: int) -> Iterator[Neighbours]:
    """Tensors of one shard with holes of at most ``gap`` bytes between them, at most 1 MiB each."""
    run: list[TensorRef] = []
    shard, begin, end, limit, gapless = "", 0, 0, 0, True
    for tensor in ordered:
        _, _, _, file, start, nbytes = tensor
        stop = start + nbytes
        if file != shard or start > end + gap or stop > limit:
            if run:
                yield Neighbours(run, ByteRange(shard, begin, end - begin), gapless)
            run, shard, begin, end, limit, gapless = [], file, start, start, start + _LONGEST_RUN, True
        elif start != end:
            gapless = False
        run.append(tensor)
        if stop > end:
            end = stop
    if run:
        yield Neighbours(run, ByteRange(shard, begin, end - begin), gapless)


def in_parallel(source: Source, read: Callable[[Item], Result], items: list[Item]) -> Iterator[Result]:
    """The results in order; a source is asked for as many at once as serve it well."""
    workers = source.traits.workers
    if workers == 1 or len(items) == 1:
        yield from map(read, items)
        return
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and only remote sources gain by it

    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(read, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def open_container(source: Source) -> Container:
    """List a source, parse every header and compare them with the index; faults are collected, not raised.

    Raises ContainerError only when there is nothing to judge: no safetensors file at all, or one that the system
    does not let us read.
    """
    with paused_gc():
        return _open(source)


def _open(source: Source) -> Container:
    entries = {entry.name: entry for entry in source.files()}
    faults = list(source.faults())
    index: Index | None = None
    if INDEX_FILE in entries:
        raw, found = _read_json_file(source, entries[INDEX_FILE])
        faults += found
        if raw is not None:
            index, found = parse_index(INDEX_FILE, raw)
            faults += found
    config: dict[str, Any] = {}
    if CONFIG_FILE in entries:
        raw, found = _read_json_file(source, entries[CONFIG_FILE])
        faults += found
        if raw is not None:
            parsed, found = parse_json_object(CONFIG_FILE, raw)
            config = parsed or {}
            faults += found
    else:
        faults.append(Fault("config-absent", "the folder has no config.json", CONFIG_FILE, None, "a file", "none"))
    present = sorted(name for name in entries if name.endswith(SHARD_SUFFIX) and "/" not in name)
    shards, found = choose_shards(entries, present, index)
    if not shards and not present and index is None:
        raise _no_shards(source, entries, faults)
    faults += found
    headers = read_headers(source, [entries[name] for name in shards], index)
    for header in headers:
        faults += header.faults
    faults += compare_names(headers, index)
    known = {*shards, INDEX_FILE, CONFIG_FILE}
    side_files = tuple(entry for name, entry in entries.items() if name not in known)
    with_header = tuple(header for header in headers if header.data_start)
    return Container(source, with_header, index, config, side_files, tuple(faults))


def read_headers(source: Source, shards: list[FileEntry], index: Index | None = None) -> list[Header]:
    """Parse the headers of shards, in order. A shard whose length field is wrong gets an empty header.

    ``index`` is one that names all of them, where there is one: from afar, it tells how much to read at first.
    """
    expected = _expected_headers(index) if index is not None and source.traits.remote else {}
    usual = source.traits.first_read
    if not expected or len(shards) < _FEW_SHARDS:
        return list(
            in_parallel(source, lambda shard: _read_header(source, shard, expected.get(shard.name, usual)), shards)
        )
    # The longest one shows how far the estimate is off: the others are then asked for more closely.
    longest = max(shards, key=lambda shard: expected[shard.name])
    probe = _read_header(source, longest, expected[longest.name])
    share = min(1.0, _SPARE * probe.data_start / expected[longest.name]) or 1.0

    def read(shard: FileEntry) -> Header:
        return _read_header(source, shard, int(share * expected[shard.name]))

    others = iter(in_parallel(source, read, [shard for shard in shards if shard is not longest]))
    return [probe if shard is longest else next(others) for shard in shards]


def _expected_headers(index: Index) -> dict[str, int]:
    """How long each shard's header should be, going by its tensors' names: what is read at first from afar."""
    sizes: dict[str, int] = {}
    for name, shard in index.weight_map.items():
        sizes[shard] = sizes.get(shard, 512) + len(name) + _ENTRY_BYTES
    return sizes


def _read_header(source: Source, shard: FileEntry, first_read: int) -> Header:
    try:
        wanted = min(first_read, shard.size)
        first = source.read(shard.name, 0, wanted)
        if len(first) < wanted:
            raise ContainerError(f"{shard.name} broke off after {len(first):,} of {wanted:,} bytes")
        faults = header_length_faults(shard.name, first, shard.size)
        if faults:
            return Header(shard.name, 0, shard.size, {}, None, tuple(faults))
        length = header_length(first)
        raw = first[8 : 8 + length]
        if len(raw) < length:
            raw += source.read(shard.name, len(first), length - len(raw))
    except ContainerError as error:
        return Header(shard.name, 0, shard.size, {}, None, (_unreadable(shard, error),))
    return parse_header(shard.name, raw, shard.size)


def _read_json_file(source: Source, entry: FileEntry) -> tuple[bytes | None, list[Fault]]:
    """The bytes of config or index; None with a fault if there are none, or absurdly many."""
    if entry.size > MAX_JSON_BYTES:
        expected = f"at most {MAX_JSON_BYTES} bytes"
        return None, [Fault("json-too-large", "too large to be JSON", entry.name, None, expected, f"{entry.size}")]
    try:
        return source.read(entry.name), []
    except ContainerError as error:
        return None, [_unreadable(entry, error)]


def _unreadable(entry: FileEntry, error: ContainerError) -> Fault:
    """The fault of a file that cannot be read; raises where that is the system's word and not the checkpoint's."""
    if isinstance(error, SourceChanged):
        raise error
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _NOT_OUR_FAULT:
        help_text = "this says nothing about the checkpoint: make the file readable and try again"
        raise ContainerError(error.message, help=help_text) from cause
    return Fault("file-unreadable", "the file cannot be read", entry.name, None, f"{entry.size} bytes", error.message)


def _no_shards(source: Source, entries: Mapping[str, FileEntry], faults: list[Fault]) -> ContainerError:
    below = checkpoints_below(entries.values())
    other = sorted({name.rpartition(".")[2] for name in entries if name.endswith((".bin", ".gguf", ".pt", ".pth"))})
    help_text = "give a folder with *.safetensors files"
    if below:
        help_text = hint(source.label, below)
    elif other:
        help_text = f"ckptkit reads safetensors only; this folder holds .{', .'.join(other)} files"
    return ContainerError(f"{source.label}: no safetensors files here", faults=faults, help=help_text)
