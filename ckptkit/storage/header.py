"""The safetensors header: the one place that decides whether a shard's header is sound.

A file is ``u64 little-endian header length | JSON header | data``. The JSON maps tensor names to dtype, shape
and data offsets (relative to the end of the header), plus an optional ``__metadata__`` of strings. The tensors
must cover the data section exactly: no hole, no overlap, no byte left over.

The official reader stops at the first fault and names neither tensor nor numbers; this one collects every fault. A
header is :attr:`Header.readable` exactly when safetensors 0.8 would open the file.

Reading has two gears. The quick one takes headers that are sound and written in the usual way, and proves that they
are, at little more than the cost of parsing the JSON alone. Whatever it does not vouch for goes to
:mod:`ckptkit.storage.header_faults`, which costs seven times as much again and alone words faults.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from typing import TypeAlias

from ckptkit.dtypes import DTYPES
from ckptkit.errors import Fault, OutputError, excerpt
from ckptkit.record import record
from ckptkit.storage.header_faults import METADATA_KEY, TOLERATED, examine_header
from ckptkit.storage.payload import TensorRef, tensor_ref
from ckptkit.storage.strict_json import count_strings, misread_by_python

#: The official library refuses longer headers.
MAX_HEADER_BYTES = 100_000_000

_LENGTH = struct.Struct("<Q")
#: An entry as the official library and Python's encoder write it. What is not quoted has no quotes, and numbers nothing
#: but digits: however a stranger's text goes on, each of its characters is looked at a few times at most.
_ENTRY = re.compile(
    r'"([^"\\\x00-\x1f]*)": ?(\{"dtype": ?"[^"]*", ?"shape": ?\[[0-9, ]*\]), ?"data_offsets": ?\[([0-9, ]*)\]\}'
)
#: What no tensor has, since no file has as many bytes.
_MOST_BITS = 1 << 66
_SEPARATORS = frozenset({",", ", "})
#: How the file begins that stands for one that git-lfs has not fetched.
LFS_SIGNATURE = b"version https://git-lfs"
_FETCH_AGAIN = "download or export the shard again"


@record
class Header:
    """A parsed header: tensors in JSON order, with absolute offsets, and the string metadata.

    ``tensors`` holds the tensors whose entries are sound; ``unusable`` names the others.
    """

    shard: str
    data_start: int
    file_size: int
    tensors: dict[str, TensorRef]
    metadata: dict[str, str] | None
    faults: tuple[Fault, ...] = ()
    unusable: tuple[str, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether the official library would open the file."""
        return all(fault.kind in TOLERATED for fault in self.faults)

    @property
    def names_known(self) -> bool:
        """Whether the header could be read far enough to say which tensors the shard holds."""
        return self.readable or bool(self.tensors) or bool(self.unusable)


def header_length_faults(shard: str, first: bytes, file_size: int) -> list[Fault]:
    """Judge the first bytes of a file (8 or more, fewer only if the file is shorter)."""

    def fault(kind: str, message: str, expected: str, found: str, help: str = _FETCH_AGAIN) -> list[Fault]:
        return [Fault(kind, message, shard, None, expected, found, help)]

    if file_size == 0:
        return fault("file-empty", "the file is empty", "a safetensors file", "0 bytes")
    if len(first) >= _LENGTH.size and first.startswith(LFS_SIGNATURE[: len(first)]):
        message = "this is a Git LFS pointer, not the shard itself"
        found = f"{file_size} bytes of text"
        return fault("lfs-pointer", message, "a safetensors file", found, "run 'git lfs pull' or download it again")
    if (page := _page(first)) is not None:
        message = f"this is {page}, not the shard itself"
        found = f"{file_size} bytes that begin with {excerpt(first[:20].decode('ascii', 'replace'))}"
        help_text = "download it again: a server answered with a page, perhaps because a login is needed"
        return fault("page-for-shard", message, "a safetensors file", found, help_text)
    if file_size < _LENGTH.size:
        found = f"{file_size} bytes"
        return fault("header-truncated", "too short for a header length", f"{_LENGTH.size} bytes", found)
    length = header_length(first)
    if length > MAX_HEADER_BYTES:
        message = "header length is over the format's limit; the file is damaged or not safetensors"
        return fault("header-too-large", message, f"at most {MAX_HEADER_BYTES} bytes", f"{length}")
    if _LENGTH.size + length > file_size:
        expected = f"at least {_LENGTH.size + length} bytes"
        return fault("header-truncated", "the header is longer than the file", expected, f"{file_size} bytes")
    return []


def _page(first: bytes) -> str | None:
    """What a server may have answered instead of a file, by its first bytes; None where it can be a shard.

    The fifth to eighth byte of a shard are zero, unless its header has 4 GiB.
    """
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if text.startswith(b'{"error"'):
        return "a server's error message"
    return None


def header_length(first: bytes) -> int:
    """The length of the JSON header, from the first 8 bytes of a file."""
    (length,) = _LENGTH.unpack_from(first)
    return int(length)


def parse_header(shard: str, raw: bytes, file_size: int) -> Header:
    """Parse and check the JSON part of a header.

    ``raw`` is the JSON alone, without the 8 length bytes. Never raises on bad input: every fault is in
    :attr:`Header.faults`, and the tensors that could be understood are returned beside them.
    """
    header = _parse_sound_header(shard, raw, file_size)
    if header is not None:
        return header
    exam = examine_header(shard, raw, file_size)
    return Header(
        shard, exam.data_start, file_size, exam.tensors, exam.metadata, tuple(exam.faults), tuple(exam.unusable)
    )


def _parse_sound_header(shard: str, raw: bytes, file_size: int) -> Header | None:
    """The quick reading: a header without any fault, or None when one look is not enough.

    The text is cut into columns: names, kinds (dtype and shape as written), offsets, and what stands between entries.
    Together they are all of it, so that the header is sound where each column is; a kind is parsed once for the many
    tensors that have it. Empty tensors are left to the thorough reading, because behind a 0 a factor may exceed 64 bits
    unseen.
    """
    try:
        before, *columns = _ENTRY.split(raw.decode("utf-8"))
        names, kinds, offsets, between = (columns[first::4] for first in range(4))
        if not names or between.pop().rstrip(" ") != "}" or not _SEPARATORS.issuperset(between):
            return None
        metadata = _sound_metadata(before)
        known = {kind: _sizes(kind) for kind in set(kinds)}
        spans = json.loads(f"[[{'],['.join(offsets)}]]")
        tensors: dict[str, TensorRef] = {}
        data_start = end = 8 + len(raw)
        in_order = True
        for name, kind, (start, stop) in zip(names, kinds, spans, strict=True):
            dtype, shape, nbytes = known[kind]
            if stop - start != nbytes:
                return None
            start += data_start
            if start != end:
                in_order = False
            end = start + nbytes
            tensors[name] = tensor_ref((name, dtype, shape, shard, start, nbytes))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if len(tensors) != len(names) or METADATA_KEY in tensors:
        return None
    if not in_order:
        end = _end_of_cover(tensors.values(), data_start)
    return Header(shard, data_start, file_size, tensors, metadata) if end == file_size else None


def _sound_metadata(before: str) -> dict[str, str] | None:
    """The metadata in what stands before the first entry. Raises ValueError or TypeError where that is anything else.

    Python's parser drops all but the last of repeated keys; more strings in the text than in the result give it away.
    """
    if before == "{":
        return None
    opening, comma, blanks = before.rpartition(",")
    if not opening.startswith("{") or not comma or blanks.strip(" ") or misread_by_python(opening):
        raise ValueError("not an object that goes on")
    document = json.loads(f"{opening}}}")
    metadata: dict[str, str] = document.pop(METADATA_KEY, None)
    if document or type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise ValueError("not the metadata alone")
    if count_strings(opening) != 1 + 2 * len(metadata):
        raise ValueError("a key twice")
    return metadata


@lru_cache(maxsize=256)  # shards of one model hold tensors of the same kinds
def _sizes(kind: str) -> tuple[str, tuple[int, ...], int]:
    """Dtype, shape and bytes of tensors of a kind.

    Raises KeyError or ValueError for one that cannot be, is empty or larger than any file.
    """
    entry = json.loads(f"{kind}}}")
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    bits = dtype.bits
    for extent in shape:
        bits *= extent
        if not 0 < bits < _MOST_BITS:
            raise ValueError("empty, or more than there can be")
    if bits % 8:
        raise ValueError("half a byte")
    return dtype.code, shape, bits // 8


def _end_of_cover(tensors: Iterable[TensorRef], data_start: int) -> int:
    """Where the data ends that tensors, none of them empty, cover without a gap; -1 after a hole or overlap."""
    end = data_start
    for tensor in sorted(tensors, key=attrgetter("start")):
        if tensor.start != end:
            return -1
        end = tensor.stop
    return end


#: A tensor that a header is to name: its name, dtype code, shape and bytes.
Entry: TypeAlias = tuple[str, str, tuple[int, ...], int]


def build_header(
    tensors: Iterable[Entry], metadata: dict[str, str] | None, *, congruent_to: int | None = None
) -> bytes:
    """The bytes before the data section: length and JSON, space-padded to an 8-byte boundary.

    With ``congruent_to`` the data section starts at that offset modulo 4096, so that a file system that can
    share blocks between files may share those of the source instead of copying them.
    """
    start = 0
    openings: dict[tuple[str, tuple[int, ...]], str] = {}
    members: dict[str, str] = {}
    repeated = False
    for name, dtype, shape, nbytes in tensors:
        opening = openings.get((dtype, shape))
        if opening is None:
            extents = ",".join(map(str, shape))
            opening = openings[dtype, shape] = f'{{"dtype":"{dtype}","shape":[{extents}],"data_offsets":['
        end = start + nbytes
        repeated = repeated or name in members
        members[name] = f"{encode_basestring(name)}:{opening}{start},{end}]}}"
        start = end
    if repeated or METADATA_KEY in members:
        raise OutputError(f"a shard cannot hold two tensors of one name, nor one named {METADATA_KEY}")
    # An entry has no text but its name and dtype; Python's encoder takes twice as long over objects of objects.
    parts = list(members.values())
    if metadata is not None:
        own = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False)
        parts.insert(0, f'"{METADATA_KEY}":{own}')
    text = f"{{{','.join(parts)}}}".encode()
    alignment, remainder = (8, 0) if congruent_to is None else (4096, congruent_to % 4096)
    padding = (remainder - 8 - len(text)) % alignment
    if len(text) + padding > MAX_HEADER_BYTES:
        help = "spread the tensors over more shards"
        raise OutputError(f"a header of {len(text)} bytes is over the format's {MAX_HEADER_BYTES}", help=help)
    return _LENGTH.pack(len(text) + padding) + text + b" " * padding
