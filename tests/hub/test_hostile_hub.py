"""A Hub that means harm: slow, endless, lying, redirecting, compressing, traversing. One test for each behaviour.

Whatever it does, the token stays with it, nothing is written outside the cache, and a bounded time later there is one
error of ours or a right result.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.errors import CkptkitError
from ckptkit.storage import hub_http, remote
from ckptkit.storage.remote import HubLocation, HubSource
from tests.hub.conftest import REAL
from tests.hub.server import TOKEN, FakeHub

MODEL = REAL / "llama" / "quark-ptpc-sharded"
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

#: What the Hub does, to which requests, and what the user is told.
HARM: list[tuple[str, str, Answer, str]] = [
    ("headers that trickle, revision", REVISION, drip, "too slowly|no answer"),
    ("headers that trickle, config", CONFIG, drip, "too slowly|no answer"),
    ("headers that trickle, shard", SHARD, drip, "too slowly|no answer"),
    ("headers that trickle, storage", STORAGE, drip, "too slowly|no answer"),
    ("a body that trickles", CONFIG, send(endless=b" ", pause=0.02), "too slowly|no answer|cut"),
    ("a listing that trickles", TREE, send(endless=b" ", pause=0.02), "too slowly|no answer"),
    (
        "an empty compressed body that trickles",
        TREE,
        send(endless=b"\0", pause=0.02, Content_Encoding="gzip"),
        "slowly|no answer",
    ),
    ("an endless listing", TREE, send(endless=b" " * 65536), "longer than"),
    ("an endless description", REVISION, send(endless=b"[" * 65536), "longer than"),
    ("a listing that decompresses for ever", TREE, send(BOMB, Content_Encoding="gzip"), "longer than"),
    ("a body that claims gzip and is not", TREE, send(b"[]", Content_Encoding="gzip"), "not compressed as it claims"),
    ("an unknown compression", TREE, send(b"[]", Content_Encoding="rot13"), "unknown way"),
    ("a shard that is compressed", STORAGE, send(b"[]", 206, Content_Encoding="gzip"), "compresses"),
    ("deep JSON in the description", REVISION, send(DEEP), "not JSON that can be read"),
    ("deep JSON in the listing", TREE, send(DEEP), "not JSON that can be read"),
    ("NaN in the listing", TREE, send(b"[NaN]"), "not JSON that can be read"),
    ("a number of 5,000 digits", TREE, send(b"[" + b"9" * 5000 + b"]"), "not JSON that can be read"),
    ("a listing that is none", TREE, send(b'{"error": 1}'), "cannot be understood"),
    ("a listing of numbers", TREE, send(b"[1]"), "cannot be understood"),
    ("a size of 1e999", TREE, send(item(size=0).replace(b": 0,", b": 1e999,")), "cannot be understood"),
    ("a size of 1.5", TREE, send(item(size=1.5)), "cannot be understood"),
    ("a negative size", TREE, send(item(size=-1)), "cannot be understood"),
    ("a size of true", TREE, send(item(size=True)), "cannot be understood"),
    ("a size beyond any disk", TREE, send(item(size=1 << 70)), "cannot be understood"),
    ("a hash that is a path", TREE, send(item(oid="../../../../escape")), "cannot be understood"),
    ("a sha256 that is a path", TREE, send(item(lfs={"oid": "/tmp/escape"})), "cannot be understood"),
    ("a path that is a number", TREE, send(item(path=7)), "cannot be understood"),
    ("no commit", REVISION, send(b"{}"), "names no commit"),
    ("a commit that is a path", REVISION, send(b'{"sha": "../../main"}'), "names no commit"),
    ("Retry-After of a power", TREE, send(status=429, Retry_After="\xb2"), "limits the rate"),
    ("Retry-After for ever", TREE, send(status=429, Retry_After="9" * 400), "limits the rate"),
    ("Retry-After of infinity", TREE, send(status=429, Retry_After="inf"), "limits the rate"),
    ("a rate limit of 5,000 digits", TREE, send(status=429, RateLimit='"a";r=0;t=' + "9" * 5000), "limits the rate"),
    ("a range of 5,000 digits", STORAGE, send(b"x", 206, Content_Range=f"bytes 0-{'9' * 5000}/9"), "another range"),
    ("another range", STORAGE, send(b"x", 206, Content_Range="bytes 7-8/9"), "another range"),
    ("circles", STORAGE, send(b"", 302, Location="/org/model/abcdef/model-00001"), "circles"),
    *(
        (f"a redirect to {where!r}", SHARD, send(b"", 302, Location=where), "no usable address|circles")
        for where in ADDRESSES
    ),
    ("a body that is cut", TREE, send(b"[", Content_Length="1000"), "cut|cannot be reached"),
    ("a length that is none", TREE, send(b"[", Content_Length="abc"), "cannot be reached"),
    ("no HTTP at all", TREE, lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n") and None, "cannot be reached"),
    ("a header of a megabyte", TREE, send(X_Long="a" * (1 << 20)), "cannot be reached"),
    ("status 1000", TREE, send(status=1000), "cannot be reached|status 1000"),
    ("a message with control characters", TREE, send(status=403, X_Error_Message="\x1b]0;owned\x07"), "is refused"),
]


@pytest.fixture
def hasty(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The Hub, and a client with little patience."""
    from huggingface_hub import constants

    monkeypatch.setattr(hub_http, "RETRIES", 1)
    monkeypatch.setattr(hub_http, "SLOWEST", 1 << 20)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add("org/model", MODEL)
    return hub


@pytest.mark.parametrize(("name", "pattern", "answer", "words"), HARM, ids=[harm[0] for harm in HARM])
def test_harm_becomes_one_error(name: str, pattern: str, answer: Answer, words: str, hasty: FakeHub) -> None:
    hasty.inject(pattern, "raw", times=1000, answer=answer)
    begin = time.monotonic()
    with pytest.raises(CkptkitError) as caught:
        ckptkit.validate("hf://org/model", level=Level.SCALES)
    assert time.monotonic() - begin < 5
    text = str(caught.value)
    assert any(word in text for word in words.split("|")), text
    assert TOKEN not in text and "inf s" not in text and "\x1b" not in text


# -- where the token goes --------------------------------------------------------------------------------------------


def elsewhere(hub: FakeHub) -> str:
    return hub.storage.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("place", ["storage", "name", "scheme", "user"])
def test_the_next_page_is_of_the_same_server(place: str, hasty: FakeHub) -> None:
    port = hasty.endpoint.rpartition(":")[2]
    address = {
        "storage": f"{hasty.storage}/steal",
        "name": f"http://localhost:{port}/steal",
        "scheme": f"https://127.0.0.1:{port}/steal",
        "user": f"http://127.0.0.1:{port}@localhost:{hasty.storage.rpartition(':')[2]}/steal",
    }[place]
    hasty.inject(TREE, "raw", times=1000, answer=send(item(), Link=f'<{address}>; rel="next"'))
    with pytest.raises(CkptkitError, match="on another server"):
        ckptkit.validate("hf://org/model")
    assert not [entry for entry in hasty.log if "steal" in entry.path]


@pytest.mark.parametrize("pattern", [REVISION, TREE, CONFIG, SHARD])
def test_a_redirect_to_another_server_carries_no_token(pattern: str, hasty: FakeHub) -> None:
    hasty.inject("steal", "status", times=1000, status=404)
    hasty.inject(pattern, "raw", times=1000, answer=send(b"", 302, Location=f"{hasty.storage}/steal"))
    with pytest.raises(CkptkitError):
        ckptkit.validate("hf://org/model")
    stolen = [entry for entry in hasty.log if "steal" in entry.path]
    assert stolen and not any(entry.authorized for entry in stolen)
    assert any(entry.authorized for entry in hasty.log if entry.host == "hub")


def test_a_retry_after_a_redirect_carries_no_token(hasty: FakeHub) -> None:
    hasty.inject(STORAGE, "status", times=1000, status=500)
    with pytest.raises(CkptkitError):
        ckptkit.validate("hf://org/model")
    there = [entry for entry in hasty.log if entry.host == "storage"]
    assert len(there) > 1 and not any(entry.authorized for entry in there)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("https://hub/a", "https://HUB:443/b", True),
        ("http://hub:80/a", "http://hub/b", True),
        ("https://hub/a", "http://hub/a", False),
        ("https://hub/a", "https://hub:8443/a", False),
        ("https://hub/a", "https://hub.evil/a", False),
        ("https://hub/a", "https://hub@evil/a", False),
        ("https://hub/a", "https://evil#hub/a", False),
    ],
)
def test_origins(left: str, right: str, same: bool) -> None:
    assert hub_http.same_origin(left, right) is same


# -- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etag", ["../../../../../escape", "/tmp/escape", "a/b", "..", "", "a" * 5000, "\x1b[31m"])
@pytest.mark.parametrize("header", ["ETag", "X_Linked_ETag"])
def test_an_etag_names_no_file(header: str, etag: str, hasty: FakeHub, tmp_path: Path) -> None:
    """The whole validation works, and every file of the cache has the name of a hash."""
    config = (MODEL / "config.json").read_bytes()
    headers = {header: f'"{etag}"', "X_Repo_Commit": "../../../../escape"}
    hasty.inject(CONFIG, "raw", times=1000, answer=send(config, **headers))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert ckptkit.validate("hf://org/model").clean
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    home = tmp_path / "hf-home" / "hub" / "models--org--model"
    assert written and all(path.is_relative_to(home) for path in written)
    assert all(set(path.name) <= set("0123456789abcdef") for path in (home / "blobs").iterdir())


def test_content_that_is_not_what_was_listed_is_not_kept(hasty: FakeHub, tmp_path: Path) -> None:
    size = (MODEL / "config.json").stat().st_size
    hasty.inject(CONFIG, "raw", times=1000, answer=send(b"{}" + b" " * (size - 2)))
    ckptkit.validate("hf://org/model")
    kept = tmp_path / "hf-home" / "hub" / "models--org--model" / "snapshots"
    assert not list(kept.rglob("config.json"))


@pytest.mark.parametrize("etag", ["../escape", "a b", "\x1b[31m"])
def test_an_etag_that_is_none_is_an_error_where_it_is_asked_for(etag: str, hasty: FakeHub) -> None:
    source = HubSource(HubLocation("org/model"))
    hasty.inject(CONFIG, "raw", times=1000, answer=send(b"", ETag=f'"{etag}"'))
    with pytest.raises(CkptkitError, match="an ETag that is none") as caught:
        source.etag("config.json")
    assert "\x1b" not in str(caught.value)


NAMES = ("../evil", "/etc/passwd", "a//b", "C:x.safetensors", "a\\b", "", ".", "x/..", "\ud800.json", "a" * 300, "a\0b")


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_names_of_files(name: str, hasty: FakeHub) -> None:
    listing = json.loads(item())
    listing.append({**listing[0], "path": name})
    hasty.inject(TREE, "raw", times=1000, answer=send(json.dumps(listing).encode()))
    source = HubSource(HubLocation("org/model"))
    assert [entry.name for entry in source.files()] == ["config.json"]
    (fault,) = source.faults()
    assert str(fault).isprintable()


def test_a_name_that_is_listed_twice_is_one_file(hasty: FakeHub) -> None:
    hasty.inject(TREE, "raw", times=1000, answer=send(json.dumps(json.loads(item()) * 2).encode()))
    assert len(HubSource(HubLocation("org/model")).files()) == 1


@pytest.mark.parametrize("size", [0, 3])
def test_a_cached_file_of_another_size_is_no_copy(size: int, hasty: FakeHub) -> None:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download("org/model"))
    shard = folder / "model-00001-of-00003.safetensors"
    shard.resolve().write_bytes(b"x" * size)
    assert ckptkit.validate("hf://org/model", level=Level.SCALES).clean


# -- how much --------------------------------------------------------------------------------------------------------


def test_a_next_link_that_points_at_itself(hasty: FakeHub) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(item(), Link=f'<{hasty.endpoint}{handler.path}>; rel="next"')(handler)

    hasty.inject(TREE, "raw", times=1000, answer=answer)
    with pytest.raises(CkptkitError, match="does not end"):
        ckptkit.validate("hf://org/model")
    assert len(hasty.log) < 5


def test_a_listing_without_end(hasty: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter(range(10_000))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(b"[]", Link=f'</api/models/org/model/tree/main?page={next(pages)}>; rel="next"')(handler)

    monkeypatch.setattr(remote, "MOST_PAGES", 20)
    hasty.inject(TREE, "raw", times=100_000, answer=answer)
    with pytest.raises(CkptkitError, match="does not end"):
        ckptkit.validate("hf://org/model")
    assert len(hasty.log) < 30


def test_requests_without_end(hasty: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_http, "MOST_REQUESTS", 5)
    with pytest.raises(CkptkitError, match="more than 5 requests"):
        ckptkit.validate("hf://org/model", level=Level.SCALES)


def test_this_many_behaviours_are_tried() -> None:
    assert len(HARM) >= 40
