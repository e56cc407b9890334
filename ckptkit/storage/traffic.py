"""What reading a remote checkpoint has cost: requests sent and bytes received."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias


class Traffic(NamedTuple):
    """Requests sent, redirects and retries included, and bytes of bodies received."""

    requests: int
    nbytes: int

    def to_json(self) -> dict[str, int]:
        """A JSON object."""
        return {"requests": self.requests, "bytes": self.nbytes}


#: Told of requests and bytes as they are counted, by whichever meter.
_observers: list[Callable[[int, int], None]] = []


@contextmanager
def observed(observer: Callable[[int, int], None]) -> Iterator[None]:
    """Tell ``observer`` of all traffic while the block runs: requests and bytes, from any thread."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


class Meter:
    """Counts traffic; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._nbytes = 0

    def count(self, requests: int = 0, nbytes: int = 0) -> None:
        """Add to the totals."""
        with self._lock:
            self._requests += requests
            self._nbytes += nbytes
        for observer in (*_observers,):
            observer(requests, nbytes)

    @property
    def traffic(self) -> Traffic:
        """The totals so far."""
        with self._lock:
            return Traffic(self._requests, self._nbytes)


def unheard(nbytes: int) -> None:
    """Progress that nobody follows."""


#: What hears of bytes: of 0 and all of them before the first, then of those just done and all.
OnBytes: TypeAlias = Callable[[int, int], None]


def nobody_counts(nbytes: int, total: int) -> None:
    """The same where nobody listens."""
