"""What all questions share: opening files in memory, and answers as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ckptkit.errors import CkptkitError, Fault
from ckptkit.storage.container import Container, open_container
from tests.raw import MemorySource

Answers = Iterator[tuple[str, str]]


def opened(files: dict[str, bytes]) -> Container:
    return open_container(MemorySource(files))


def words(faults: Iterable[Fault]) -> list[str]:
    return [f"{fault.kind}: {fault}" for fault in faults]


def digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:8]


def refusal(call: Callable[[], str]) -> str:
    """An answer, or the error that came in its place."""
    try:
        return call()
    except CkptkitError as error:
        faults = [fault.kind for fault in error.faults]
        return "\n".join([f"{type(error).__name__} {' '.join(faults)}".strip(), str(error)])
