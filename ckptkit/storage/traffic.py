"""What reading a remote checkpoint has cost: requests sent and bytes received."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Traffic(NamedTuple):
    """Requests sent, redirects and retries included, and bytes of bodies received."""

    requests: int
    nbytes: int

    def to_json(self) -> dict[str, int]:
        """A JSON object."""
        return {"requests": self.requests, "bytes": self.nbytes}


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

    @property
    def traffic(self) -> Traffic:
        """The totals so far."""
        with self._lock:
            return Traffic(self._requests, self._nbytes)
