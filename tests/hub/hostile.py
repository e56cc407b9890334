"""Behaviours of a Hub that means harm: what it does, to which requests, and what the user is told.

Each is an answer for :meth:`FakeHub.inject`; ``tests/hub/test_hostile_hub.py`` has one test for each.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

TREE, REVISION, CONFIG, SHARD = "/tree/", "/revision/", r"/resolve/\w+/config\.json", r"00001-of-00003\.safetensors"
STORAGE = r"^/org/model/\w+/model-00001"

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(body: bytes = b"{}", status: int = 200, endless: bytes = b"", pause: float = 0.0, **headers: str) -> Answer:
    """An answer with these headers, underscores as dashes; ``endless`` is repeated until the client hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        lines = [
            f"HTTP/1.1 {status} Whatever",
            *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items()),
        ]
        if not endless and "Content_Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        handler.wfile.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        while endless:
            handler.wfile.write(endless)
            time.sleep(pause)

    return answer


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A header that never ends, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Patience: ")
    while True:
        handler.wfile.write(b"a")
        time.sleep(0.02)


def item(**changes: object) -> bytes:
    """A listing of one file."""
    return json.dumps([{"type": "file", "path": "config.json", "size": 2, "oid": "0" * 40, **changes}]).encode()


DEEP = b"[" * 50_000 + b"]" * 50_000
BOMB = gzip.compress(b" " * (80 << 20))
ADDRESSES = ("http://[", "http://host:abc/", "http://", "file:///etc/passwd", "http://host:99999/", "http://a b/")
GZIP_START = gzip.compress(b" ")[:10]


def headers_for_ever(handler: BaseHTTPRequestHandler) -> None:
    """One header after the other."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-More: a\r\n" * 1000)


def itself(handler: BaseHTTPRequestHandler) -> None:
    """A redirect to the very address that was asked for."""
    send(b"", 302, Location=handler.path)(handler)


class Behaviour(NamedTuple):
    """What the Hub answers to requests whose path matches ``pattern``; one of the ``words`` is told to the user."""

    name: str
    pattern: str
    answer: Answer
    words: str


#: Kind -> its behaviours.
HARM: dict[str, tuple[Behaviour, ...]] = {
    "slow": (
        Behaviour("headers that trickle, revision", REVISION, drip, "too slowly|no answer"),
        Behaviour("headers that trickle, config", CONFIG, drip, "too slowly|no answer"),
        Behaviour("headers that trickle, shard", SHARD, drip, "too slowly|no answer"),
        Behaviour("headers that trickle, storage", STORAGE, drip, "too slowly|no answer"),
        Behaviour("a body that trickles", CONFIG, send(endless=b" ", pause=0.02), "too slowly|no answer|cut"),
        Behaviour("a listing that trickles", TREE, send(endless=b" ", pause=0.02), "too slowly|no answer"),
        Behaviour(
            "an empty compressed body that trickles",
            TREE,
            send(endless=b"\0", pause=0.02, Content_Encoding="gzip"),
            "slowly|no answer",
        ),
    ),
    "endless": (
        Behaviour("an endless listing", TREE, send(endless=b" " * 65536), "longer than"),
        Behaviour("an endless description", REVISION, send(endless=b"[" * 65536), "longer than"),
        Behaviour("an endless page that says no", TREE, send(status=403, endless=b" " * 65536), "is refused"),
        Behaviour("headers without end", TREE, headers_for_ever, "cannot be reached|slowly"),
    ),
    "compressing": (
        Behaviour("a listing that decompresses for ever", TREE, send(BOMB, Content_Encoding="gzip"), "longer than"),
        Behaviour(
            "a body that claims gzip and is not",
            TREE,
            send(b"[]", Content_Encoding="gzip"),
            "not compressed as it claims",
        ),
        Behaviour("an unknown compression", TREE, send(b"[]", Content_Encoding="rot13"), "unknown way"),
        Behaviour("a shard that is compressed", STORAGE, send(b"[]", 206, Content_Encoding="gzip"), "compresses"),
        Behaviour(
            "a listing in an endless gzip",
            TREE,
            send(GZIP_START, endless=b"\0" * 65536, Content_Encoding="gzip"),
            "longer than|compressed|slowly",
        ),
        Behaviour(
            "a description that decompresses for ever", REVISION, send(BOMB, Content_Encoding="gzip"), "longer than"
        ),
    ),
    "redirecting": (
        Behaviour("circles", STORAGE, send(b"", 302, Location="/org/model/abcdef/model-00001"), "circles"),
        *(
            Behaviour(f"a redirect to {where!r}", SHARD, send(b"", 302, Location=where), "no usable address|circles")
            for where in ADDRESSES
        ),
        Behaviour(
            "a redirect without a place",
            SHARD,
            send(b"", 302),
            "no usable address|was cut",
        ),
        Behaviour("a redirect to itself", SHARD, itself, "circles"),
    ),
    "traversing": (
        Behaviour("a hash that is a path", TREE, send(item(oid="../../../../escape")), "cannot be understood"),
        Behaviour("a sha256 that is a path", TREE, send(item(lfs={"oid": "/tmp/escape"})), "cannot be understood"),
        Behaviour("a commit that is a path", REVISION, send(b'{"sha": "../../main"}'), "names no commit"),
        Behaviour(
            "a next page above the folder",
            TREE,
            send(item(), Link='</../../../etc/passwd>; rel="next"'),
            "no such repository",
        ),
    ),
    "lying": (
        Behaviour("deep JSON in the description", REVISION, send(DEEP), "not JSON that can be read"),
        Behaviour("deep JSON in the listing", TREE, send(DEEP), "not JSON that can be read"),
        Behaviour("NaN in the listing", TREE, send(b"[NaN]"), "not JSON that can be read"),
        Behaviour("a number of 5,000 digits", TREE, send(b"[" + b"9" * 5000 + b"]"), "not JSON that can be read"),
        Behaviour("a listing that is none", TREE, send(b'{"error": 1}'), "cannot be understood"),
        Behaviour("a listing of numbers", TREE, send(b"[1]"), "cannot be understood"),
        Behaviour("a size of 1e999", TREE, send(item(size=0).replace(b": 0,", b": 1e999,")), "cannot be understood"),
        Behaviour("a size of 1.5", TREE, send(item(size=1.5)), "cannot be understood"),
        Behaviour("a negative size", TREE, send(item(size=-1)), "cannot be understood"),
        Behaviour("a size of true", TREE, send(item(size=True)), "cannot be understood"),
        Behaviour("a size beyond any disk", TREE, send(item(size=1 << 70)), "cannot be understood"),
        Behaviour("a path that is a number", TREE, send(item(path=7)), "cannot be understood"),
        Behaviour("no commit", REVISION, send(b"{}"), "names no commit"),
        Behaviour("Retry-After of a power", TREE, send(status=429, Retry_After="\xb2"), "limits the rate"),
        Behaviour("Retry-After for ever", TREE, send(status=429, Retry_After="9" * 400), "limits the rate"),
        Behaviour("Retry-After of infinity", TREE, send(status=429, Retry_After="inf"), "limits the rate"),
        Behaviour(
            "a rate limit of 5,000 digits",
            TREE,
            send(status=429, RateLimit='"a";r=0;t=' + "9" * 5000),
            "limits the rate",
        ),
        Behaviour(
            "a range of 5,000 digits",
            STORAGE,
            send(b"x", 206, Content_Range=f"bytes 0-{'9' * 5000}/9"),
            "another range",
        ),
        Behaviour("another range", STORAGE, send(b"x", 206, Content_Range="bytes 7-8/9"), "another range"),
        Behaviour("a body that is cut", TREE, send(b"[", Content_Length="1000"), "cut|cannot be reached"),
        Behaviour("a length that is none", TREE, send(b"[", Content_Length="abc"), "cannot be reached"),
        Behaviour(
            "no HTTP at all",
            TREE,
            lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n") and None,
            "cannot be reached",
        ),
        Behaviour("a header of a megabyte", TREE, send(X_Long="a" * (1 << 20)), "cannot be reached"),
        Behaviour("status 1000", TREE, send(status=1000), "cannot be reached|status 1000"),
        Behaviour(
            "a message with control characters",
            TREE,
            send(status=403, X_Error_Message="\x1b]0;owned\x07"),
            "is refused",
        ),
        Behaviour(
            "more bytes than were asked for",
            STORAGE,
            send(b"x" * 99, 206, Content_Range="bytes 0-98/99"),
            "another range|longer",
        ),
        Behaviour("a range without its place", STORAGE, send(b"x", 206), "another range|broke off|cut"),
        Behaviour("an empty answer to a range", STORAGE, send(b"", 206), "another range|broke off|cut"),
        Behaviour("success without a file", CONFIG, send(b"", 204), "status 204|cut|broke off"),
    ),
}
BEHAVIOURS = tuple(behaviour for kind in HARM.values() for behaviour in kind)
