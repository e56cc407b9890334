"""The thorough reading of a header: every fault it has, and what can be understood all the same.

The quick reading in :mod:`ckptkit.storage.header` handles sound headers. What it does not vouch for comes here, where
the cost no longer matters and the wording does: each fault names the tensor, what was expected and what was found.

The verdict must be that of safetensors 0.8, quirks included: it reads an entry given as an array
(``["F32", [2], [0, 8]]``), a dtype given as ``{"F32": null}``, blanks before the first brace, unknown fields, and
entries that a later entry of the same name replaces, provided that these are well-formed. All of that is reported, as
faults that leave the file readable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ckptkit.errors import Fault, excerpt
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.strict_json import MAX_NESTING, JsonObject, nesting, parse_strict

METADATA_KEY = "__metadata__"

_MAX_SIZE = 2**64 - 1
_FIELDS = ("dtype", "shape", "data_offsets")
_EXPORT_AGAIN = "export or download the shard again"


@dataclass
class Examination:
    """What a thorough reading has found; ``tensors`` holds the sound ones, ``unusable`` the names of the others."""

    shard: str
    data_start: int
    file_size: int
    tensors: dict[str, TensorRef] = field(default_factory=dict)
    unusable: list[str] = field(default_factory=list)
    metadata: dict[str, str] | None = None
    faults: list[Fault] = field(default_factory=list)

    def add(
        self, kind: str, message: str, tensor: str | None, expected: str, found: str, help: str | None = None
    ) -> None:
        """Note a fault of this shard."""
        self.faults.append(Fault(kind, message, self.shard, tensor, expected, found, help))


class _Entry(NamedTuple):
    """The fields of a header entry, each None where it is malformed."""

    dtype: str | None
    shape: list[int] | None
    offsets: tuple[int, int] | None


class _Span(NamedTuple):
    """The bytes that an entry claims, relative to the data section."""

    start: int
    stop: int
    name: str


def examine_header(shard: str, raw: bytes, file_size: int) -> Examination:
    """Read the JSON part of a header thoroughly. Never raises on bad input."""
    exam = Examination(shard, 8 + len(raw), file_size)
    document = _parse(exam, raw)
    if document is None:
        return exam
    if METADATA_KEY in document:
        exam.metadata = _read_metadata(exam, document)
    spans: list[_Span] = []
    for name, info in document.items():
        if name == METADATA_KEY:
            continue
        entry = _read_entry(exam, name, info)
        if entry.offsets is not None:
            spans.append(_Span(*entry.offsets, name))
        if _judge_size(exam, name, entry):
            start, stop = entry.offsets
            exam.tensors[name] = TensorRef(
                name, entry.dtype, tuple(entry.shape), shard, exam.data_start + start, stop - start
            )
        else:
            exam.unusable.append(name)
    _judge_cover(exam, spans, complete=len(spans) == len(document) - (METADATA_KEY in document))
    return exam


def _parse(exam: Examination, raw: bytes) -> JsonObject | None:
    """The header's object, or None with a fault; repeated keys and odd layout are faults too."""

    def refuse(message: str, found: str) -> None:
        exam.add("header-invalid-json", message, None, "a JSON object in UTF-8", found, _EXPORT_AGAIN)

    try:
        text = raw.decode("utf-8")
        document = parse_strict(text)
    except UnicodeDecodeError as error:
        return refuse("the header is not UTF-8", f"byte 0x{raw[error.start]:02x} at {error.start}")
    except ValueError as error:
        return refuse("the header is not valid JSON", str(error))
    if not isinstance(document, JsonObject):
        return refuse("the header is not a JSON object", type(document).__name__)
    if not raw.startswith(b"{"):
        message = "the header starts with blanks, which the format forbids"
        exam.add("header-leading-blanks", message, None, "'{'", excerpt(text[:8]))
    for key, value in document.hidden:
        if key == METADATA_KEY:
            exam.add("header-duplicate-field", f"{key} is given twice", None, "one", "two", _EXPORT_AGAIN)
            continue
        message = "the header names a tensor twice; readers keep the last entry"
        exam.add("header-duplicate-key", message, key, "one entry", "two", "one of the two is never read")
        _read_entry(exam, key, value)
    if any(fault.kind == "header-unknown-field" for fault in exam.faults) or _has_strangers(document):
        depth = nesting(text)
        if depth > MAX_NESTING:
            exam.add(
                "header-nesting",
                "the header is nested too deeply",
                None,
                f"at most {MAX_NESTING} levels",
                f"{depth}",
            )
    return document
