"""Every error that ckptkit raises, and the fault record that they carry.

::

    CkptkitError                    anything that ckptkit refuses or cannot do; exit code 2
    ├── InputError                  the source cannot be read as a checkpoint
    │   ├── ContainerError          files, headers or index are damaged
    │   │   └── SourceChanged       a file is not any more what it was when reading began
    │   ├── FormatError             the quantization config is unknown or contradicts itself
    │   │   └── UnsupportedFormat   it is sound as far as can be told, and nothing that ckptkit reads
    │   └── RemoteError             a server refuses or fails; says nothing about the checkpoint itself
    ├── ConversionRefused           the target cannot hold what the source holds; lists every loss
    ├── UploadRefused               a broken checkpoint was about to be uploaded; nothing was sent
    ├── OutputError                 the destination cannot be written
    └── UsageError                  the request itself makes no sense

A fault is data: what is wrong, where, what was expected and what was found, and what to do next. Readers
collect all faults before they raise, so that a user fixes a checkpoint once and not fault by fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from reprlib import Repr
from typing import Any

from ckptkit.record import record

#: The name under which ckptkit is installed: ``ckptkit`` on the package index is somebody else's tool.
DISTRIBUTION = "ckptkit-fp8"


def install(extra: str) -> str:
    """What to type to install ckptkit with an extra.

    >>> install("gpu")
    "pip install 'ckptkit-fp8[gpu]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@record
class Fault:
    """One thing that is wrong with a checkpoint, as the layer that met it describes it.

    ``kind`` is a stable kebab-case word (``"header-overlap"``); rules map kinds to codes. ``file`` is
    relative to the checkpoint folder.
    """

    kind: str
    message: str
    file: str | None = None
    tensor: str | None = None
    expected: str | None = None
    found: str | None = None
    help: str | None = None

    def to_json(self) -> dict[str, str]:
        """A JSON object; keys without a value are left out."""
        values = ((name, getattr(self, name)) for name in _FAULT_FIELDS)
        return {name: value for name, value in values if value is not None}

    def __str__(self) -> str:
        place = ": ".join(printable(part) for part in (self.file, self.tensor) if part)
        text = f"{place}: {self.message}" if place else self.message
        details = [f"{label} {value}" for label, value in (("expected", self.expected), ("found", self.found)) if value]
        if details:
            text = f"{text} ({', '.join(details)})"
        return f"{text}; {self.help}" if self.help else text


#: What a fault states; what those who know more of one add to it is no part of an error's document.
_FAULT_FIELDS = tuple(field.name for field in fields(Fault))


class _Brief(Repr):
    """A repr that costs and says little, whatever the size and depth of the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel = 3

    def repr_instance(self, value: object, level: int) -> str:
        return self.repr_dict(value, level) if isinstance(value, dict) else super().repr_instance(value, level)


_BRIEF = _Brief()


def excerpt(value: object) -> str:
    """The repr of a value that came from a file, for ``found``: short, and free of control characters."""
    return _BRIEF.repr(value)


def printable(text: str) -> str:
    """A name that came from a file, with escapes for what would move the cursor or cannot be encoded."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def place(label: str) -> str:
    """A path or URL at the beginning of a line, where GitHub would read a command in some names.

    >>> place("::error::owned"), place("models/a")
    ('./::error::owned', 'models/a')
    """
    shown = printable(label)
    return f"./{shown}" if shown.lstrip().startswith(("::", "##[")) else shown


def printable_line(line: str) -> str:
    """A line of somebody's text for a terminal: its end and its tabs as they are, anything else that is not printable
    spelled out."""
    body = line.rstrip("\r\n")
    return "\t".join(map(printable, body.split("\t"))) + ("\n" if body != line else "")


def plural(count: int, word: str) -> str:
    """A number and what it counts.

    >>> plural(1, "shard"), plural(2_000, "shard")
    ('1 shard', '2,000 shards')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The known word that somebody may have meant, as a question; ``otherwise`` what to say where none is near.

    >>> did_you_mean("vlm", ["vllm", "sglang"], "engines: vllm, sglang")
    "did you mean 'vllm'? engines: vllm, sglang"
    """
    from difflib import get_close_matches

    by_fold = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_fold, 1)
    return f"did you mean {by_fold[near[0]]!r}? {otherwise}" if near else otherwise


class CkptkitError(Exception):
    """Base of all errors; ``faults`` says what is wrong in detail, ``help`` what to do next."""

    def __init__(self, message: str, *, faults: Iterable[Fault] = (), help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)
        self.help = help

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/error.json``."""
        document: dict[str, Any] = {"kind": type(self).__name__, "error": self.message, "help": self.help}
        document["faults"] = [fault.to_json() for fault in self.faults]
        return {key: value for key, value in document.items() if value}

    def __str__(self) -> str:
        lines = [self.message, *(f"  {fault}" for fault in self.faults)]
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


class InputError(CkptkitError):
    """The source cannot be read as a checkpoint."""


class ContainerError(InputError):
    """Files, headers or the index are damaged or missing."""


class SourceChanged(ContainerError):
    """A file is not any more what it was when reading began, which says nothing about the checkpoint itself."""


class FormatError(InputError):
    """The quantization config is unknown or contradicts itself."""


class UnsupportedFormat(FormatError):
    """The quantization config is sound as far as can be told, and describes nothing that ckptkit reads."""


class RemoteError(InputError):
    """A server refuses or fails to serve a checkpoint, which says nothing about the checkpoint itself."""


class ConversionRefused(CkptkitError):
    """The target format cannot hold what the source holds; ``faults`` lists every loss."""


class UploadRefused(CkptkitError):
    """A broken checkpoint was about to be uploaded; ``faults`` lists every error, and nothing was sent."""


class OutputError(CkptkitError):
    """The destination cannot be written."""


class UsageError(CkptkitError):
    """The request itself makes no sense, whatever the checkpoint."""


def json_path(parts: Sequence[str | int]) -> str:
    """A path as a person writes it.

    >>> json_path(["layer_quant_config", "*.mlp.*", "weight", "block_size", 0])
    'layer_quant_config["*.mlp.*"].weight.block_size[0]'
    """
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            path += f".{part}" if path else part
        else:
            import json  # which needs a while, and help and versions are asked for without it

            path += f"[{json.dumps(part, ensure_ascii=False)}]"
    return path
