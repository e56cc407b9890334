"""The safetensors header: the one place that decides whether a shard's header is sound.

A file is ``u64 little-endian header length | JSON header | data``. The JSON maps tensor names to dtype, shape
and data offsets (relative to the end of the header), plus an optional ``__metadata__`` of strings. The tensors
must cover the data section exactly: no hole, no overlap, no byte left over.

Unlike the official reader, which stops at the first fault and names neither tensor nor numbers, this one
collects every fault. It accepts exactly the files that safetensors 0.8 accepts, and reports duplicate keys,
which that library lets pass, as a fault that is not fatal.
"""

from __future__ import annotations

import gc
import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from ckptkit.dtypes import BITS
from ckptkit.errors import Fault
from ckptkit.storage.payload import OutputTensor, TensorRef

MAX_HEADER_BYTES = 100_000_000
METADATA_KEY = "__metadata__"
LFS_SIGNATURE = b"version https://git-lfs"

_LENGTH = struct.Struct("<Q")
_MAX_SIZE = 2**64 - 1
_MAX_DEPTH = 127
_NEGATIVE = re.compile(r"[:\[,]\s*-")
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})

#: Faults that the official library does not object to: the file is readable all the same.
TOLERATED = frozenset({"header-duplicate-key", "header-unknown-field"})


@dataclass(frozen=True)
class Header:
    """A parsed header: tensors in JSON order, with absolute offsets, and the string metadata."""

    shard: str
    data_start: int
    file_size: int
    tensors: dict[str, TensorRef]
    metadata: dict[str, str] | None
    faults: tuple[Fault, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether the official library would open the file."""
        return all(fault.kind in TOLERATED for fault in self.faults)


class _Reject(ValueError):
    """JSON that Python's parser takes and the format does not."""


@contextmanager
def paused_gc() -> Iterator[None]:
    """Stop the cyclic collector: parsing 100,000 entries would trigger it hundreds of times for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def header_length_faults(shard: str, first: bytes, file_size: int) -> list[Fault]:
    """Judge the first bytes of a file (8 or more, fewer only if the file is shorter)."""
    if file_size == 0:
        return [Fault("file-empty", "the file is empty", shard, help="download or export the shard again")]
    if first.startswith(LFS_SIGNATURE[: len(first)]) and len(first) >= 8:
        return [
            Fault(
                "lfs-pointer",
                "this is a Git LFS pointer, not the shard itself",
                shard,
                found=f"{file_size} bytes of text",
                help="run 'git lfs pull' or download the file again",
            )
        ]
    if file_size < 8:
        return [
            Fault("header-truncated", "too short for a header length", shard, None, "8 bytes", f"{file_size}")
        ]
    (length,) = _LENGTH.unpack_from(first)
    if length > MAX_HEADER_BYTES:
        return [
            Fault(
                "header-too-large",
                "header length is over the format's limit; the file is damaged or not safetensors",
                shard,
                expected=f"at most {MAX_HEADER_BYTES} bytes",
                found=f"{length}",
                help="download or export the shard again",
            )
        ]
    if 8 + length > file_size:
        return [
            Fault(
                "header-truncated",
                "the header is longer than the file",
                shard,
                expected=f"a file of at least {8 + length} bytes",
                found=f"{file_size} bytes",
                help="the download broke off; fetch the shard again",
            )
        ]
    return []


def header_length(first: bytes) -> int:
    """The length of the JSON header, from the first 8 bytes of a file."""
    (length,) = _LENGTH.unpack_from(first)
    return int(length)


def parse_header(shard: str, raw: bytes, file_size: int) -> Header:
    """Parse and check the JSON part of a header.

    ``raw`` is the JSON alone, without the 8 length bytes. Never raises on bad input: every fault is in
    :attr:`Header.faults`, and the tensors that could be understood are returned beside them.
    """
    data_start = 8 + len(raw)
    faults: list[Fault] = []
    document = _parse_json(shard, raw, faults)
    metadata = _parse_metadata(shard, document.pop(METADATA_KEY, None), faults)
    tensors: dict[str, TensorRef] = {}
    cursor = data_start
    in_order = True
    for name, info in document.items():
        try:
            dtype, shape, (start, stop) = info["dtype"], info["shape"], info["data_offsets"]
            bits = BITS[dtype]
            size = 1
            for extent in shape:
                if type(extent) is not int or extent < 0 or size > _MAX_SIZE:
                    raise ValueError
                size *= extent
            if type(start) is not int or type(stop) is not int or type(shape) is not list:
                raise ValueError
            nbytes = stop - start
            if size * bits != nbytes * 8 or size * bits > _MAX_SIZE or start < 0 or stop > _MAX_SIZE:
                raise ValueError
        except (TypeError, ValueError, KeyError):
            faults.extend(_entry_faults(shard, name, info))
            in_order = False
            continue
        if len(info) != 3:
            unknown = ", ".join(sorted(info.keys() - _FIELDS))
            faults.append(Fault("header-unknown-field", "unknown header field", shard, name, found=unknown))
        begin = data_start + start
        if begin != cursor:
            in_order = False
        cursor = begin + nbytes
        tensors[name] = TensorRef(name, dtype, tuple(shape), shard, begin, nbytes)
    if not in_order:
        faults.extend(_cover_faults(shard, tensors, data_start))
    end = max((tensor.stop for tensor in tensors.values()), default=data_start)
    if end != file_size and len(tensors) == len(document):
        faults.append(_end_fault(shard, end, file_size))
    return Header(shard, data_start, file_size, tensors, metadata, tuple(faults))


def build_header(
    tensors: tuple[OutputTensor, ...], metadata: dict[str, str] | None, *, congruent_to: int | None = None
) -> bytes:
    """The bytes before the data section: length and JSON, space-padded to an 8-byte boundary.

    With ``congruent_to`` the data section starts at that offset modulo 4096, so that a file system that can
    share blocks between files may share those of the source instead of copying them.
    """
    document: dict[str, Any] = {} if metadata is None else {METADATA_KEY: metadata}
    offset = 0
    for tensor in tensors:
        document[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    alignment, remainder = (8, 0) if congruent_to is None else (4096, congruent_to % 4096)
    padding = (remainder - 8 - len(text)) % alignment
    return _LENGTH.pack(len(text) + padding) + text + b" " * padding


def _parse_json(shard: str, raw: bytes, faults: list[Fault]) -> dict[str, Any]:
    """Parse the header as the official library does, noting duplicate keys; ``{}`` when it is not JSON."""

    def invalid(message: str, found: str | None = None) -> dict[str, Any]:
        faults.append(Fault("header-invalid-json", message, shard, None, "a JSON object", found))
        return {}

    def refuse(constant: str) -> NoReturn:
        raise _Reject(f"{constant} is not JSON")

    duplicates: list[tuple[str, bool]] = []

    def from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    duplicates.append((key, bool(_FIELDS & mapping.keys()) and key in _FIELDS))
                seen.add(key)
        return mapping

    if not raw.startswith(b"{"):
        return invalid("the header does not start with '{'", repr(raw[:16]))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return invalid("the header is not UTF-8", f"byte 0x{raw[error.start]:02x} at {error.start}")
    try:
        with paused_gc():
            document = json.loads(text, object_pairs_hook=from_pairs, parse_constant=refuse)
        _refuse_lenient_json(text, document)
    except (ValueError, RecursionError) as error:
        return invalid("the header is not valid JSON", str(error) or "nesting too deep")
    if not isinstance(document, dict):
        return invalid("the header is not a JSON object", type(document).__name__)
    for key, is_field in duplicates:
        if is_field or key == METADATA_KEY:
            faults.append(Fault("header-duplicate-field", "a header field is given twice", shard, found=key))
        else:
            faults.append(
                Fault(
                    "header-duplicate-key",
                    "the header names a tensor twice; readers keep the last entry",
                    shard,
                    key,
                    help="export the shard again: one of the two entries is never read",
                )
            )
    return document


def _refuse_lenient_json(text: str, document: Any) -> None:
    """Refuse what Python's parser takes and a strict one does not: lone surrogates, ``-0``, deep nesting."""
    if "\\" in text:
        try:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise _Reject("a string holds a lone surrogate") from error
    if _NEGATIVE.search(text):
        json.loads(text, parse_int=_strict_int)
    entries = len(document)
    if text.count("{") + text.count("[") > 3 * entries + 2 and _depth(document) > _MAX_DEPTH:
        raise _Reject("nesting too deep")


def _strict_int(literal: str) -> int:
    if literal == "-0":
        raise _Reject("-0 is not an integer")
    return int(literal)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        children: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        level = [child for child in children if isinstance(child, (dict, list))]
    return depth


def _parse_metadata(shard: str, value: Any, faults: list[Fault]) -> dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return value
    bad = value if not isinstance(value, dict) else {k: v for k, v in value.items() if not isinstance(v, str)}
    faults.append(
        Fault(
            "header-metadata",
            "__metadata__ must map strings to strings",
            shard,
            None,
            "strings",
            repr(bad)[:80],
        )
    )
    return None


def _entry_faults(shard: str, name: str, info: Any) -> list[Fault]:
    """Say exactly what is wrong with one header entry that failed the quick check."""

    def fault(kind: str, message: str, expected: str | None = None, found: object = None) -> Fault:
        return Fault(kind, message, shard, name, expected, None if found is None else repr(found)[:80])

    if not isinstance(info, dict):
        return [fault("header-entry", "the entry is not an object", "dtype, shape, data_offsets", info)]
    missing = sorted(_FIELDS - info.keys())
    if missing:
        return [fault("header-entry", f"the entry lacks {', '.join(missing)}")]
    found: list[Fault] = []
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        found.append(fault("header-dtype", "unknown dtype", "a safetensors dtype", dtype))
    sizes_ok = isinstance(shape, list) and all(type(e) is int and 0 <= e <= _MAX_SIZE for e in shape)
    if not sizes_ok:
        found.append(fault("header-shape", "the shape is not a list of sizes", "integers from 0", shape))
    pair_ok = (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(o) is int and o >= 0 for o in offsets)
    )
    if not pair_ok:
        found.append(
            fault("header-offsets", "data_offsets is not a pair of offsets", "[start, stop]", offsets)
        )
    if found:
        return found
    start, stop = offsets
    if stop < start or stop > _MAX_SIZE:
        return [
            fault("header-offsets", "data_offsets runs backwards or out of range", "start <= stop", offsets)
        ]
    elements = 1
    for extent in shape:
        elements *= extent
        if elements * BITS[dtype] > _MAX_SIZE:
            return [fault("header-overflow", "shape x dtype does not fit in 64 bits", None, shape)]
    bits = elements * BITS[dtype]
    if bits % 8:
        return [fault("header-size", "the tensor does not end on a whole byte", "a multiple of 8 bits", bits)]
    expected = f"{bits // 8} bytes for {dtype} {list(shape)}"
    return [fault("header-size", "data_offsets do not hold shape x dtype", expected, stop - start)]


def _cover_faults(shard: str, tensors: dict[str, TensorRef], data_start: int) -> list[Fault]:
    """Holes and overlaps, from the tensors sorted by offset."""
    faults: list[Fault] = []
    cursor, previous = data_start, "the header"
    for tensor in sorted(tensors.values(), key=lambda t: (t.start, t.stop)):
        relative, expected = tensor.start - data_start, cursor - data_start
        if relative > expected:
            message = f"{relative - expected} bytes between {previous} and this tensor belong to nobody"
            faults.append(
                Fault("header-hole", message, shard, tensor.name, f"start {expected}", f"{relative}")
            )
        elif relative < expected:
            message = f"the tensor overlaps {previous}"
            faults.append(
                Fault("header-overlap", message, shard, tensor.name, f"start {expected}", f"{relative}")
            )
        cursor, previous = max(cursor, tensor.stop), tensor.name
    return faults


def _end_fault(shard: str, end: int, file_size: int) -> Fault:
    if end > file_size:
        return Fault(
            "data-truncated",
            "the file ends before its last tensor",
            shard,
            expected=f"{end} bytes",
            found=f"{file_size}",
            help="the download broke off; fetch the shard again",
        )
    return Fault(
        "data-trailing",
        f"{file_size - end} bytes follow the last tensor",
        shard,
        expected=f"{end} bytes",
        found=f"{file_size}",
        help="the shard was overwritten or joined; export or download it again",
    )
