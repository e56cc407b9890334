"""A Hub that means harm: slow, endless, lying, redirecting, compressing, traversing. One test for each behaviour.

Whatever it does, the token stays with it, nothing is written outside the cache, and a bounded time later there is one
error of ours or a right result.
"""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.errors import CkptkitError
from ckptkit.storage import hub_http, remote
from ckptkit.storage.remote import HubLocation, HubSource
from tests.hub.conftest import REAL
from tests.hub.hostile import BEHAVIOURS, CONFIG, HARM, REVISION, SHARD, STORAGE, TREE, Behaviour, item, send
from tests.hub.server import TOKEN, FakeHub

#: Seconds, on a machine that has other work to do; an answer that never ends takes for ever.
LONGEST = 15
MODEL = REAL / "llama" / "quark-ptpc-sharded"


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


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.name)
def test_harm_becomes_one_error(behaviour: Behaviour, hasty: FakeHub) -> None:
    hasty.inject(behaviour.pattern, "raw", times=1000, answer=behaviour.answer)
    begin = time.monotonic()
    with pytest.raises(CkptkitError) as caught:
        ckptkit.validate("hf://org/model", level=Level.SCALES)
    assert time.monotonic() - begin < LONGEST
    text = str(caught.value)
    assert any(word in text for word in behaviour.words.split("|")), text
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
    counts = {kind: len(behaviours) for kind, behaviours in HARM.items()}
    assert list(counts) == ["slow", "endless", "compressing", "redirecting", "traversing", "lying"]
    assert min(counts.values()) >= 4 and sum(counts.values()) >= 55
    assert len({behaviour.name for behaviour in BEHAVIOURS}) == len(BEHAVIOURS)
