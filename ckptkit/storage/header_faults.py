"""The thorough reading of a header: every fault it has, and what can be understood all the same.

The quick reading in :mod:`ckptkit.storage.header` vouches for sound headers only. All others come here, where cost no
longer matters and wording does: each fault names the tensor, what was expected, what was found.

The verdict must be that of safetensors 0.8, quirks included: it reads an entry given as an array
(``["F32", [2], [0, 8]]``), a dtype given as ``{"F32": null}``, blanks before the first brace, unknown fields, and
entries that a later entry of the same name replaces, if they are well-formed. Each of these is a fault that leaves the
file readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckptkit.dtypes import BITS
from ckptkit.errors import Fault, excerpt, plural
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.strict_json import MAX_NESTING, MAX_U64, JsonObject, nesting, parse_strict

METADATA_KEY = "__metadata__"

#: Faults that the official library does not object to: the file is readable all the same.
TOLERATED = frozenset({"header-duplicate-key", "header-unknown-field", "header-entry-form", "header-leading-blanks"})

_FIELDS = ("dtype", "shape", "data_offsets")
_MAKE_AGAIN = "export or download the shard again"


@dataclass
class Examination:
    """What a thorough reading finds. ``unusable`` names the tensors that have an entry, but not a sound one."""

    shard: str
    data_start: int
    tensors: dict[str, TensorRef] = field(default_factory=dict)
    unusable: list[str] = field(default_factory=list)
    metadata: dict[str, str] | None = None
    faults: list[Fault] = field(default_factory=list)

    def add(
        self,
        kind: str,
        message: str,
        tensor: str | None = None,
        *,
        expected: str | None = None,
        found: str | None = None,
        help: str | None = None,
    ) -> None:
        """Note a fault of this shard."""
        self.faults.append(Fault(kind, message, self.shard, tensor, expected, found, help))


class _Entry(NamedTuple):
    """The fields of a header entry, None where they are malformed."""

    dtype: str | None
    shape: tuple[int, ...] | None
    offsets: tuple[int, int] | None


class _Span(NamedTuple):
    """The bytes of the data section that an entry claims."""

    start: int
    stop: int
    name: str


def examine_header(shard: str, raw: bytes, file_size: int) -> Examination:
    """Read the JSON part of a header thoroughly. Never raises on bad input."""
    exam = Examination(shard, data_start=8 + len(raw))
    document = _parse(exam, raw)
    if document is None:
        return exam
    _judge_repeated_keys(exam, document)
    if METADATA_KEY in document:
        exam.metadata = _read_metadata(exam, document.pop(METADATA_KEY))
    spans: list[_Span] = []
    for name, value in document.items():
        entry = _read_entry(exam, name, value)
        if entry.offsets is not None and entry.offsets[0] <= entry.offsets[1]:
            spans.append(_Span(*entry.offsets, name))
        tensor = _sound_tensor(exam, name, entry)
        if tensor is None:
            exam.unusable.append(name)
        else:
            exam.tensors[name] = tensor
    _judge_cover(exam, spans, data_bytes=file_size - exam.data_start, complete=len(spans) == len(document))
    _judge_nesting(exam, raw)
    return exam


def _parse(exam: Examination, raw: bytes) -> JsonObject | None:
    """The header's object, or None with a fault."""
    expected = "a JSON object in UTF-8"
    try:
        document = parse_strict(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        exam.add("header-invalid-json", "the header is not UTF-8", expected=expected, found=found, help=_MAKE_AGAIN)
        return None
    except ValueError as error:
        message = "the header is not valid JSON"
        exam.add("header-invalid-json", message, expected=expected, found=str(error), help=_MAKE_AGAIN)
        return None
    if not isinstance(document, JsonObject):
        message = "the header is not a JSON object"
        exam.add("header-invalid-json", message, expected=expected, found=excerpt(document), help=_MAKE_AGAIN)
        return None
    if not raw.startswith(b"{"):
        message = "the header starts with blanks, which the format forbids"
        exam.add("header-leading-blanks", message, expected="'{'", found=excerpt(raw[:8]), help=_MAKE_AGAIN)
    return document


def _judge_repeated_keys(exam: Examination, document: JsonObject) -> None:
    """A later entry replaces an earlier one of the same name; the earlier one must be well-formed all the same."""
    for key, value in document.hidden:
        if key == METADATA_KEY:
            exam.add(
                "header-duplicate-field", f"{key} is given twice", expected="one", found="several", help=_MAKE_AGAIN
            )
            continue
        exam.add(
            "header-duplicate-key",
            "the header names the tensor twice; readers keep the last entry",
            key,
            expected="one entry",
            found=f"also {excerpt(value)}",
            help="export the shard again: one of the two entries is never read",
        )
        _read_entry(exam, key, value)


def _read_metadata(exam: Examination, value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, JsonObject):
        exam.add("header-metadata", f"{METADATA_KEY} is not an object", expected="an object", found=excerpt(value))
        return None
    sound = True
    for key, item in (*value.hidden, *value.items()):
        if not isinstance(item, str):
            sound = False
            message = f"{METADATA_KEY} must map strings to strings"
            exam.add("header-metadata", message, expected="a string", found=f"{excerpt(key)}: {excerpt(item)}")
    for key, item in value.hidden:
        message = f"{METADATA_KEY} holds a key twice; readers keep the last one"
        exam.add("header-duplicate-key", message, expected="one", found=f"also {excerpt(key)}: {excerpt(item)}")
    return dict(value) if sound else None


def _read_entry(exam: Examination, name: str, value: Any) -> _Entry:
    """The fields of one entry; a fault for each that is missing, given twice or of the wrong type."""
    if isinstance(value, list) and len(value) == len(_FIELDS):
        found = "an array"
        exam.add("header-entry-form", "not every reader takes this entry", name, expected="an object", found=found)
        value = JsonObject(list(zip(_FIELDS, value, strict=True)))
    if not isinstance(value, JsonObject):
        expected = f"an object with {', '.join(_FIELDS)}"
        exam.add("header-entry", "the entry is not an object", name, expected=expected, found=excerpt(value))
        return _Entry(None, None, None)
    for key, _ in value.hidden:
        if key in _FIELDS:
            exam.add("header-duplicate-field", f"{key} is given twice", name, expected="one", found="several")
    for key in value:
        if key not in _FIELDS:
            exam.add(
                "header-unknown-field", "unknown header field", name, expected=", ".join(_FIELDS), found=excerpt(key)
            )
    missing = [key for key in _FIELDS if key not in value]
    if missing:
        message = f"the entry lacks {', '.join(missing)}"
        exam.add("header-entry", message, name, expected=", ".join(_FIELDS), found=excerpt(list(value)))
    return _Entry(
        _read_dtype(exam, name, value["dtype"]) if "dtype" in value else None,
        _read_shape(exam, name, value["shape"]) if "shape" in value else None,
        _read_offsets(exam, name, value["data_offsets"]) if "data_offsets" in value else None,
    )


def _read_dtype(exam: Examination, name: str, value: Any) -> str | None:
    if isinstance(value, JsonObject) and len(value) == 1 and not value.hidden and None in value.values():
        found = excerpt(dict(value))
        exam.add("header-entry-form", "not every reader takes this dtype", name, expected="a string", found=found)
        (value,) = value
    if isinstance(value, str) and value in BITS:
        return value
    exam.add("header-dtype", "unknown dtype", name, expected="a safetensors dtype", found=excerpt(value))
    return None


def _read_shape(exam: Examination, name: str, value: Any) -> tuple[int, ...] | None:
    if isinstance(value, list) and _are_sizes(value):
        return tuple(value)
    expected = "a list of integers from 0 to 2^64 - 1"
    exam.add("header-shape", "the shape is not a list of sizes", name, expected=expected, found=excerpt(value))
    return None


def _read_offsets(exam: Examination, name: str, value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and _are_sizes(value):
        return value[0], value[1]
    expected = "[start, stop], integers from 0 to 2^64 - 1"
    exam.add("header-offsets", "data_offsets are not a pair of offsets", name, expected=expected, found=excerpt(value))
    return None


def _are_sizes(values: Sequence[Any]) -> bool:
    """Whether all are integers that fit in 64 bits; True is no integer here, although Python says so."""
    return all(type(value) is int and 0 <= value <= MAX_U64 for value in values)


def _sound_tensor(exam: Examination, name: str, entry: _Entry) -> TensorRef | None:
    """The tensor, if its byte range has exactly the size that dtype and shape ask for."""
    dtype, shape, offsets = entry
    if offsets is not None and offsets[0] > offsets[1]:
        message = "data_offsets run backwards"
        exam.add("header-offsets", message, name, expected="start <= stop", found=excerpt(list(offsets)))
        return None
    if dtype is None or shape is None or offsets is None:
        return None
    bits = _total_bits(dtype, shape)
    what = f"{dtype} {excerpt(list(shape))}"
    if bits is None:
        message = "shape x dtype does not fit in 64 bits"
        exam.add("header-overflow", message, name, expected=f"at most {MAX_U64} bits", found=what)
        return None
    if bits % 8:
        message = "the tensor does not end on a whole byte"
        exam.add("header-size", message, name, expected="a multiple of 8 bits", found=f"{bits} bits for {what}")
        return None
    start, stop = offsets
    if stop - start != bits // 8:
        message = "data_offsets do not hold shape x dtype"
        expected = f"{bits // 8} bytes for {what}"
        exam.add("header-size", message, name, expected=expected, found=f"{stop - start} bytes")
        return None
    return TensorRef(name, dtype, shape, exam.shard, exam.data_start + start, stop - start)


def _total_bits(dtype: str, shape: tuple[int, ...]) -> int | None:
    """The size in bits, or None once a product on the way exceeds 64 bits, even if a later factor is 0."""
    total = 1
    for factor in (*shape, BITS[dtype]):
        total *= factor
        if total > MAX_U64:
            return None
    return total


def _judge_cover(exam: Examination, spans: list[_Span], *, data_bytes: int, complete: bool) -> None:
    """The spans must cover the data section exactly. Unless all are known, only what they share can be judged."""
    end, previous = 0, "the header"
    cut: list[str] = []
    for start, stop, name in sorted(spans):
        if start < end:
            exam.add(
                "header-overlap",
                f"the tensor shares bytes with {previous}",
                name,
                expected=f"start {end}",
                found=f"{start}",
                help="tied tensors must be stored once, or twice in full",
            )
        elif start > end and complete:
            message = f"{plural(start - end, 'byte')} of no tensor between {previous} and this one"
            exam.add("header-hole", message, name, expected=f"start {end}", found=f"{start}", help=_MAKE_AGAIN)
        if stop > max(start, data_bytes):
            cut.append(name)
        if stop >= end:
            end, previous = stop, name
    if cut:
        exam.add(
            "data-truncated",
            f"the file ends before this tensor does, the first of {len(cut)} that are cut",
            cut[0],
            expected=f"{exam.data_start + end} bytes",
            found=f"{exam.data_start + data_bytes} bytes",
            help="the download broke off; fetch the shard again",
        )
    elif end < data_bytes and complete:
        exam.add(
            "data-trailing",
            f"the last tensor is followed by {plural(data_bytes - end, 'byte')}",
            expected=f"{exam.data_start + end} bytes",
            found=f"{exam.data_start + data_bytes} bytes",
            help="the shard was overwritten or joined; export or download it again",
        )


def _judge_nesting(exam: Examination, raw: bytes) -> None:
    """A header whose entries have known fields only is three levels deep; unknown ones may hold anything."""
    if any(fault.kind == "header-unknown-field" for fault in exam.faults):
        depth = nesting(raw.decode("utf-8"))
        if depth > MAX_NESTING:
            message = "arrays and objects are nested too deeply"
            exam.add("header-invalid-json", message, expected=f"at most {MAX_NESTING} levels", found=f"{depth}")
