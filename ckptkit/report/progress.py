"""What a wait is for, how far it is and how long it will take: on terminals one line that is redrawn, else heartbeats.

Nothing is shown of what takes less than a second. On a terminal the line goes when the work ends. Where standard error
is a log, a whole line is written now and then, so that nobody takes a long run for a dead one.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ckptkit.errors import printable
from ckptkit.report.text import duration, size
from ckptkit.storage.traffic import observed

#: Seconds before anything is shown, between two drawings of the line, and between two lines of a log.
PATIENCE, REDRAW, HEARTBEAT = 1.0, 0.2, 15.0
#: Seconds before the first line of a log.
FIRST_BEAT = 3.0
_BAR = 16


class ByteProgress:
    """A wait, shown on standard error while the block runs; ``quiet`` shows nothing.

    :meth:`start` says how many bytes are to come, :meth:`advance` counts those that are done. Before that, and
    beside it, requests to servers are counted. All may be called from any thread.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self._label = label
        self._stream = None if quiet else sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._drawn = False
        self._total = self._done = self._requests = self._fetched = 0
        self._began = self._counted = time.monotonic()
        self._observation = observed(self._observe)

    def __enter__(self) -> ByteProgress:
        self._began = self._counted = time.monotonic()
        self._observation.__enter__()
        if self._stream is not None:
            self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observation.__exit__(None, None, None)
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def start(self, total: int, label: str | None = None) -> None:
        """Say how many bytes are to come, and what is done with them where that changes."""
        with self._lock:
            self._total, self._done, self._counted = total, 0, time.monotonic()
            self._label = label or self._label

    def advance(self, nbytes: int) -> None:
        """Count bytes that are done."""
        with self._lock:
            self._done += nbytes

    def follow(self, label: str, nbytes: int, total: int) -> None:
        """Count what is told as bytes just done and all of them; 0 and all of them is the start."""
        self.advance(nbytes) if nbytes else self.start(total, label)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the line away while something else is printed; it comes back by itself."""
        with self._drawing:
            if self._terminal and self._drawn:
                self._write("\r\x1b[K")
            yield

    def _observe(self, requests: int, nbytes: int) -> None:
        with self._lock:
            self._requests += requests
            self._fetched += nbytes

    def words(self, now: float | None = None) -> str:
        """What there is to say at a moment (``time.monotonic()``): bytes, rate, time left; or requests and the time."""
        now = time.monotonic() if now is None else now
        with self._lock:
            label, total, done, began = printable(self._label), self._total, self._done, self._began
            requests, fetched, since = self._requests, self._fetched, now - self._counted
        if total:
            rate = done / since if since > 0 else 0.0
            left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
            speed = f", {size(rate)}/s" if rate else ""
            return f"{label}: {size(done)} of {size(total)} ({100 * done // total}%){speed}{left}"
        if requests:
            some = f", {size(fetched)} fetched" if fetched else ""
            return f"{label}: {requests:,} request{'s' if requests > 1 else ''}{some}, {duration(now - began)}"
        return f"{label}: {duration(now - began)}"

    def _bar(self) -> str:
        with self._lock:
            share = min(1.0, self._done / self._total) if self._total else 0.0
        if not self._total:
            return ""
        full, empty = "━", " "
        try:
            full.encode(getattr(self._stream, "encoding", None) or "ascii")
        except (UnicodeEncodeError, LookupError):
            full = "#"
        filled = round(share * _BAR)
        return f"[{full * filled}{empty * (_BAR - filled)}] "

    def _show(self) -> None:
        """Draw until the work ends: what a thread of its own does."""
        if self._ended.wait(PATIENCE if self._terminal else FIRST_BEAT):
            return
        while True:
            with self._drawing:
                if self._ended.is_set():
                    break
                self._drawn = True
                if not self._write(self._line()):
                    return
            if self._ended.wait(REDRAW if self._terminal else HEARTBEAT):
                break
        if self._terminal:
            self._write("\r\x1b[K")

    def _line(self) -> str:
        if not self._terminal:
            return f"{self.words()}\n"
        import shutil  # takes a while, and most commands end before a line is drawn

        width = shutil.get_terminal_size().columns - 1
        text = f"{self._bar()}{self.words()}"
        if len(text) > width:
            text = self.words()
        return f"\r{text[:width]}\x1b[K"

    def _write(self, text: str) -> bool:
        """Write, or say that nobody takes it any more."""
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            return False
        return True
