"""Bounded HTTP reads from a Hub: ranges, redirects, retries and refusals, each ending in bytes or one clear error.

The hub library does the talking: its session (proxies, certificates, offline mode), its login, its reading of the
Hub's error headers. What is added here is what a validator needs and a downloader does not: exact byte ranges
that survive a cut connection, a limit on every wait and on what is done altogether, and a count of requests and bytes.

Two secrets pass through: the user's token, and the signature in the address of a storage server. Neither may
reach a message, so errors name files and hosts only, and no exception of the HTTP library is chained to them.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from ckptkit.errors import CkptkitError, RemoteError, printable
from ckptkit.storage.patience import OutOfTimeError, within
from ckptkit.storage.traffic import Meter
from ckptkit.storage.untrusted import parse_json

#: Attempts after the first one, and the wait before the first of them, in seconds; each wait doubles the last.
RETRIES = 4
FIRST_WAIT = 0.5
#: A server that asks for more patience than this gets none: the user decides, not a sleeping process.
LONGEST_WAIT = 30.0
#: A server that ignores Range is read up to here and then hung up on.
MOST_UNRANGED = 8 << 20
#: Slower than this many bytes a second (after a grace of three timeouts) counts as no answer.
SLOWEST = 32 << 10

#: The same failures in the same words, whether something is read or sent, and what to do about them.
UNREACHABLE, CHECK_NETWORK = "the Hub cannot be reached", "check the network, the proxy and HF_ENDPOINT"
OFFLINE, GO_ONLINE = "the hub library is in offline mode", "unset HF_HUB_OFFLINE"

#: After this many seconds nothing is tried once more.
LONGEST_TRY = 300.0
#: Requests that one checkpoint may take; 10,000 shards with two requests each and all their scales stay far below.
MOST_REQUESTS = 200_000
#: A page of the API, decompressed.
MOST_DOCUMENT = 64 << 20

_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_SECONDS = re.compile(r"[0-9]{1,9}")
_RATE_LIMIT = re.compile(r"r\s*=\s*0\s*;\s*t\s*=\s*([0-9]{1,9})")
#: An ETag that may be shown, compared and used as a name: a hash, or what storage servers make of several.
_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: What a server may have compressed an answer with, although it is asked not to.
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_NEXT = re.compile(r"""<([^<>]{1,2048})>\s*;\s*rel="?next"?""")
_AS_IT_IS = {"Accept-Encoding": "identity"}

Result = TypeVar("Result")


class TryAgainError(Exception):
    """An attempt failed in a way that may pass; ``error`` is what to raise once patience has run out."""

    def __init__(self, error: CkptkitError, wait: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait


class HubHttp:
    """GET requests to one Hub. ``label`` is the checkpoint that errors name; safe to use from several threads."""

    def __init__(self, label: str, meter: Meter, explain: Callable[[str, Any], CkptkitError]) -> None:
        self.label = label
        self._meter = meter
        self._explain = explain
        #: File address at the Hub -> where it was last redirected to, which saves a request per range.
        self._located: dict[str, str] = {}

    def document(self, url: str, what: str) -> tuple[Any, str | None]:
        """A JSON answer of the API, and the address of the next page if there is one."""

        def attempt() -> tuple[Any, str | None]:
            with self._answer(url, what, _AS_IT_IS) as response:
                body = self._body(response, what)
                try:
                    document = parse_json(body, most=MOST_DOCUMENT, constants=False)
                except ValueError as error:
                    message = f"{self.label}: the answer for {what} is not JSON that can be read: {error}"
                    raise TryAgainError(RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")) from None
                return document, self._next_page(response, url, what)

        return _patiently(attempt)

    def read(self, url: str, name: str, start: int, nbytes: int, size: int) -> bytes:
        """Exactly ``nbytes`` bytes of a file of ``size`` bytes. A cut connection is taken up where it broke off."""
        received = bytearray()

        def attempt() -> bytes:
            try:
                self._read_on(url, name, start, nbytes, size, received)
            except TryAgainError:
                self._located.pop(url, None)
                raise
            return bytes(received)

        return _patiently(attempt) if nbytes else b""

    def etag(self, url: str, name: str) -> str:
        """The ETag with which the Hub announces a file, before any redirect to a storage server."""

        def attempt() -> str:
            with self._answer(url, name, _AS_IT_IS, "HEAD") as response:
                found = str(response.headers.get("x-linked-etag") or response.headers.get("etag") or "")
                found = found.removeprefix("W/").strip('"')
                if found and not _ETAG.fullmatch(found):
                    message = f"{self.label}: {name} has an ETag that is none: {printable(found[:60])!r}"
                    raise RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")
                return found

        return _patiently(attempt)

    def _read_on(self, url: str, name: str, start: int, nbytes: int, size: int, received: bytearray) -> None:
        begin, stop = start + len(received), start + nbytes
        headers = {"Range": f"bytes={begin}-{stop - 1}", **_AS_IT_IS}
        with self._answer(url, name, headers) as response:
            skip = 0
            if _encoding(response):
                message = f"{self.label}: {self._host(response)} compresses {name}, although it was asked not to"
                raise RemoteError(message, help="download the checkpoint ('hf download') and give the local folder")
            if response.status_code == 206:
                self._check_range(response, name, begin, size)
            elif (begin, stop) != (0, size):
                skip = begin
                if stop > MOST_UNRANGED:
                    raise RemoteError(
                        f"{self.label}: {name} cannot be read in parts: {self._host(response)} ignores Range requests",
                        help="download the checkpoint ('hf download') and give the local folder",
                    )
            wanted = stop - begin + skip
            for chunk in self._chunks(response, name, wanted):
                useful = chunk[min(skip, len(chunk)) :]
                skip -= len(chunk) - len(useful)
                received += useful
                if len(received) >= nbytes:
                    del received[nbytes:]
                    return
        found = f"after {len(received):,} of {nbytes:,} bytes"
        message = f"{self.label}: the connection was cut while reading {name}, {found}"
        raise TryAgainError(RemoteError(message, help="try again later"))

    def _check_range(self, response: Any, name: str, begin: int, size: int) -> None:
        """A proxy that answers another range, or a file that is not the listed one, must not pass for the bytes."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != begin or match[3] not in ("*", str(size)):
            found = match[0] if match else "no Content-Range"
            raise RemoteError(
                f"{self.label}: {name}: {self._host(response)} sent another range than the one asked for",
                help=f"expected bytes from {begin} of {size}, found {found}; the file may have been replaced",
            )

    def _body(self, response: Any, what: str) -> bytes:
        """A whole body of at most MOST_DOCUMENT bytes, whatever it was compressed with."""
        compressed = _encoding(response)
        raw = b"".join(self._chunks(response, what, MOST_DOCUMENT + 1))
        if compressed:
            if compressed not in _COMPRESSED:
                raise RemoteError(f"{self.label}: the answer for {what} is compressed in an unknown way")
            try:
                raw = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, MOST_DOCUMENT + 1)
            except zlib.error:
                message = f"{self.label}: the answer for {what} is not compressed as it claims"
                raise TryAgainError(RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")) from None
        if len(raw) > MOST_DOCUMENT:
            message = f"{self.label}: the answer for {what} is longer than {MOST_DOCUMENT:,} bytes"
            raise RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")
        return raw

    def _next_page(self, response: Any, url: str, what: str) -> str | None:
        """The address of the next page. It gets the token too, and so must be one of the same server."""
        found = _NEXT.search(response.headers.get("link", "")[:4096])
        if found is None:
            return None
        onwards = self._joined(url, found[1], what)
        if not same_origin(url, onwards):
            message = f"{self.label}: the Hub continues {what} on another server, {printable(_host_of(onwards))}"
            raise RemoteError(message, help="is HF_ENDPOINT the address of a Hub?")
        return onwards

    def _joined(self, base: str, target: str, what: str) -> str:
        """Where a server sends us on to. Raises RemoteError for what is no address, or one that is not encrypted."""
        try:
            onwards = urljoin(base, target)
            parts = urlsplit(onwards)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            usable = usable and onwards.isascii() and onwards.isprintable() and " " not in onwards
        except ValueError:
            onwards, usable = "", False
        if usable and urlsplit(base).scheme == "https":
            usable = urlsplit(onwards).scheme == "https"
        if not usable:
            raise RemoteError(f"{self.label}: {what} is redirected to no usable address", help=CHECK_NETWORK)
        return onwards

    def _chunks(self, response: Any, what: str, limit: int) -> Iterator[bytes]:
        """The body as it is sent, counted, until ``limit`` bytes have come or patience ends."""
        begin, received = time.monotonic(), 0
        chunks = iter(response.iter_raw())
        while limit > 0:
            try:
                chunk = next(chunks, None)
            except Exception as error:  # of the HTTP library, which has a dozen kinds
                raise TryAgainError(self._unreachable(what, error)) from None
            if chunk is None:
                return
            self._meter.count(nbytes=len(chunk))
            yield chunk[:limit]
            limit -= len(chunk)
            received += len(chunk)
            patience = 3 * _timeout() + received / SLOWEST
            if limit > 0 and time.monotonic() - begin > patience:
                raise TryAgainError(self._too_slow(what, patience))

    def _too_slow(self, what: str, patience: float) -> RemoteError:
        message = f"{self.label}: {what} comes too slowly, not in {patience:.0f} s"
        return RemoteError(message, help="set HF_HUB_DOWNLOAD_TIMEOUT to wait longer")

    @contextmanager
    def _answer(self, url: str, what: str, headers: dict[str, str], method: str = "GET") -> Iterator[Any]:
        """Send one request, follow its redirects, and hand out the answer if it is one.

        HEAD stops where the Hub redirects to storage: what is asked for is in the headers of the redirect.
        """
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        target = url if method == "HEAD" else self._located.get(url, url)
        for _ in range(_REDIRECTS):
            # The token goes to the Hub, never to the storage server that a redirect names.
            sent = {**build_hf_headers(library_name="ckptkit"), **headers} if same_origin(url, target) else headers
            self._meter.count(requests=1)
            if self._meter.traffic.requests > MOST_REQUESTS:
                message = f"{self.label}: more than {MOST_REQUESTS:,} requests, and no end"
                raise RemoteError(message, help="download the checkpoint ('hf download') and give the local folder")
            request = get_session().stream(method, target, headers=sent, timeout=_timeout(), follow_redirects=False)
            patience = 3 * _timeout()
            try:
                response = within(patience, request.__enter__, lambda late: late.close())
            except OutOfTimeError:
                raise TryAgainError(self._too_slow(what, patience)) from None
            except Exception as error:  # of the HTTP library, which has a dozen kinds
                raise TryAgainError(self._unreachable(what, error)) from None
            try:
                redirected = response.has_redirect_location
                onwards = self._joined(target, response.headers["location"], what) if redirected else target
                if not redirected or (method == "HEAD" and not same_origin(target, onwards)):
                    self._require_success(response, url, what)
                    yield response
                    return
                target = onwards
            finally:
                request.__exit__(None, None, None)
            if "Range" in headers:
                self._located[url] = target
        raise RemoteError(f"{self.label}: {what} is redirected in circles", help="check HF_ENDPOINT")

    def _require_success(self, response: Any, url: str, what: str) -> None:
        status = response.status_code
        if status < 400:
            return
        if status == 403 and url in self._located:
            # The address of the storage server has expired; the Hub will give a new one.
            message = f"{self.label}: {self._host(response)} refuses to serve {what}"
            raise TryAgainError(RemoteError(message, help="try again later"), 0)
        if status in _RETRY_STATUS:
            wait = _asked_wait(response)
            reason = "limits the rate of requests" if status == 429 else f"answers with an error ({status})"
            advice = "try again later"
            if status == 429:
                advice = f"try again in {wait:.0f} s" if wait else "try again in a few minutes"
                advice += ", or log in ('hf auth login') for a higher limit"
            error = RemoteError(f"{self.label}: {self._host(response)} {reason}", help=advice)
            raise TryAgainError(error, wait)
        raise self._explain(what, response) from None

    def _unreachable(self, what: str, error: Exception) -> RemoteError:
        kind = type(error).__name__
        if "Timeout" in kind:
            message = f"{self.label}: no answer within {_timeout():g} s while reading {what}"
            return RemoteError(message, help="set HF_HUB_DOWNLOAD_TIMEOUT to wait longer")
        return RemoteError(f"{self.label}: {UNREACHABLE} to read {what} ({kind})", help=CHECK_NETWORK)

    @staticmethod
    def _host(response: Any) -> str:
        return str(response.request.url.host)


def _patiently(attempt: Callable[[], Result]) -> Result:
    """Repeat an attempt that asks for it, a limited number of times, with growing waits."""
    wait, begin = FIRST_WAIT, time.monotonic()
    for left in range(RETRIES, -1, -1):
        try:
            return attempt()
        except TryAgainError as again:
            pause = wait if again.wait is None else again.wait
            if left == 0 or pause > LONGEST_WAIT or time.monotonic() - begin > LONGEST_TRY:
                raise again.error from None
        time.sleep(pause)
        wait *= 2
    raise AssertionError("unreachable")


def _asked_wait(response: Any) -> float | None:
    """The seconds that a server asks to wait: Retry-After, or the reset time of the Hub's rate limit."""
    asked = str(response.headers.get("retry-after", "")).strip()
    if _SECONDS.fullmatch(asked):
        return float(asked)
    reset = _RATE_LIMIT.search(response.headers.get("ratelimit", "")[:1024])
    return float(reset[1]) if reset else None


def _encoding(response: Any) -> str:
    """How the body is compressed; the empty string if it is not."""
    found = str(response.headers.get("content-encoding", "")).strip().lower()
    return "" if found == "identity" else found


def _timeout() -> float:
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def same_origin(url: str, target: str) -> bool:
    """Whether two addresses are of one server: the same scheme, host and port."""
    return _origin(url) == _origin(target)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def transport_error() -> type[Exception]:
    """The base of "it did not get through" in the HTTP library that the hub library uses, httpx or httpx2."""
    import sys

    from huggingface_hub import get_session

    for base in type(get_session()).__mro__:
        module = sys.modules[base.__module__.partition(".")[0]]
        found = getattr(module, "TransportError", None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return OSError
