"""Ranges of a file from a server that sends them in pieces of any size, ignores ranges, or breaks off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit.errors import CkptkitError, RemoteError
from ckptkit.storage import hub_http
from ckptkit.storage.hub_http import HubHttp
from ckptkit.storage.traffic import Meter

FILE = bytes(range(256)) * 8
URL = "https://hub/org/model/resolve/main/model.safetensors"
RANGES = ((0, len(FILE)), (0, 10), (5, 1), (100, 900), (1500, 548), (2047, 1))


class Server(HubHttp):
    """A server that answers from memory: whole files or ranges, in pieces, and no more than ``most`` bytes at once."""

    def __init__(
        self, piece: int, *, ranges: bool, most: int = len(FILE), says: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("hf://org/model", Meter(), lambda what, response: RemoteError(f"refused: {what}"))
        self.piece, self.ranges, self.most, self.says = piece, ranges, most, says or {}
        self.asked: list[str] = []

    @contextmanager
    def _answer(self, url: str, what: str, headers: dict[str, str], method: str = "GET") -> Iterator[Any]:
        self.asked.append(headers["Range"])
        begin, end = (int(part) for part in headers["Range"].removeprefix("bytes=").split("-"))
        assert headers["Accept-Encoding"] == "identity"
        body = FILE[begin : end + 1] if self.ranges else FILE
        place = {"content-range": f"bytes {begin}-{end}/{len(FILE)}"} if self.ranges else {}
        pieces = [body[at : at + self.piece] for at in range(0, min(len(body), self.most), self.piece)]
        request = SimpleNamespace(url=SimpleNamespace(host="hub"))
        yield SimpleNamespace(
            status_code=206 if self.ranges else 200,
            headers={**place, **self.says},
            iter_raw=lambda: iter(pieces),
            request=request,
        )


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_http, "FIRST_WAIT", 0.0)


@pytest.mark.parametrize("piece", [1, 3, 7, 64, 1000, 5000])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole files"])
@pytest.mark.parametrize(("start", "count"), RANGES)
def test_exactly_the_bytes_that_were_asked_for(piece: int, ranges: bool, start: int, count: int) -> None:
    server = Server(piece, ranges=ranges)
    assert server.read(URL, "model.safetensors", start, count, len(FILE)) == FILE[start : start + count]
    assert server.asked == [f"bytes={start}-{start + count - 1}"]
    assert server._meter.traffic.nbytes >= count


@pytest.mark.parametrize("most", [300, 301, 999])
def test_a_cut_connection_is_taken_up_where_it_broke_off(most: int) -> None:
    server = Server(100, ranges=True, most=most)
    assert server.read(URL, "model.safetensors", 100, 900, len(FILE)) == FILE[100:1000]
    taken = -(-most // 100) * 100
    assert server.asked[:2] == ["bytes=100-999", f"bytes={100 + taken}-999"][: 1 + (taken < 900)]


def test_a_server_that_breaks_off_for_ever_is_given_up() -> None:
    server = Server(1, ranges=True, most=0)
    with pytest.raises(CkptkitError) as caught:
        server.read(URL, "model.safetensors", 0, 50, len(FILE))
    assert caught.value.message == (
        "hf://org/model: the connection was cut while reading model.safetensors, after 0 of 50 bytes"
    )
    assert caught.value.help == "try again later"
    assert len(server.asked) == hub_http.RETRIES + 1


def test_nothing_is_asked_for_nothing() -> None:
    server = Server(1, ranges=True)
    assert server.read(URL, "model.safetensors", 7, 0, len(FILE)) == b"" and not server.asked


@pytest.mark.parametrize(
    ("says", "message", "help_text"),
    [
        (
            {"content-range": f"bytes 6-14/{len(FILE)}"},
            "hub sent another range than the one asked for",
            f"expected bytes from 5 of {len(FILE)}, found bytes 6-14/{len(FILE)}; the file may have been replaced",
        ),
        (
            {"content-range": "bytes 5-14/77"},
            "hub sent another range than the one asked for",
            f"expected bytes from 5 of {len(FILE)}, found bytes 5-14/77; the file may have been replaced",
        ),
        (
            {"content-range": "nonsense"},
            "hub sent another range than the one asked for",
            f"expected bytes from 5 of {len(FILE)}, found no Content-Range; the file may have been replaced",
        ),
        (
            {"content-encoding": "gzip"},
            "hub compresses model.safetensors, although it was asked not to",
            "download the checkpoint ('hf download') and give the local folder",
        ),
    ],
)
def test_another_range_is_refused(says: dict[str, str], message: str, help_text: str) -> None:
    server = Server(10, ranges=True, says=says)
    with pytest.raises(RemoteError) as caught:
        server.read(URL, "model.safetensors", 5, 10, len(FILE))
    assert caught.value.message.endswith(message) and caught.value.help == help_text


def test_a_range_whose_total_is_not_told_will_do() -> None:
    server = Server(10, ranges=True, says={"content-range": "bytes 5-14/*", "content-encoding": " Identity "})
    assert server.read(URL, "model.safetensors", 5, 10, len(FILE)) == FILE[5:15]


@pytest.mark.parametrize("most", [14, 15])
def test_so_much_is_skipped_and_no_more(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_http, "MOST_UNRANGED", most)
    server = Server(4, ranges=False)
    if most == 15:
        assert server.read(URL, "model.safetensors", 5, 10, len(FILE)) == FILE[5:15]
        return
    with pytest.raises(RemoteError, match="cannot be read in parts: hub ignores Range requests"):
        server.read(URL, "model.safetensors", 5, 10, len(FILE))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 ", "ratelimit": '"api";r=0;t=9'}, 0),
        ({"ratelimit": '"api";r=0;t=12'}, 12),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "ratelimit": '"api";r=0;t=3'}, 3),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert hub_http._asked_wait(SimpleNamespace(headers=headers)) == seconds


@pytest.mark.parametrize(
    ("base", "target", "onwards"),
    [
        ("https://hub/a/b", "https://store/c", "https://store/c"),
        ("https://hub/a/b", "c?x=1", "https://hub/a/c?x=1"),
        ("https://hub/a/b", "//store/c", "https://store/c"),
        ("http://hub/a", "http://store/c", "http://store/c"),
        ("http://hub/a", "https://store/c", "https://store/c"),
        ("https://hub/a", "http://store/c", None),
        ("https://hub/a", "ftp://store/c", None),
        ("http://hub/a", "http://:80/c", None),
        ("http://hub/a", "http://store:0/c", None),
        ("http://hub/a", "http://store:port/c", None),
        ("http://hub/a", "http://store/c d", None),
        ("http://hub/a", "http://store/\u00e9", None),
        ("http://hub/a", "http://store/\x1b", None),
    ],
)
def test_where_a_redirect_leads(base: str, target: str, onwards: str | None) -> None:
    server = Server(1, ranges=True)
    if onwards is not None:
        assert server._joined(base, target, "config.json") == onwards
        return
    with pytest.raises(RemoteError) as caught:
        server._joined(base, target, "config.json")
    assert caught.value.message == "hf://org/model: config.json is redirected to no usable address"


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ({"etag": '"abc"'}, "abc"),
        ({"etag": 'W/"abc"'}, "abc"),
        ({"etag": '"abc"', "x-linked-etag": '"def"'}, "def"),
        ({}, ""),
    ],
)
def test_the_name_of_what_a_file_holds(says: Mapping[str, str], found: str) -> None:
    class Heads(Server):
        @contextmanager
        def _answer(self, url: str, what: str, headers: dict[str, str], method: str = "GET") -> Iterator[Any]:
            assert (url, what, method) == (URL, "model.safetensors", "HEAD")
            yield SimpleNamespace(headers=self.says)

    assert Heads(1, ranges=True, says=says).etag(URL, "model.safetensors") == found


def test_an_etag_that_is_none_is_quoted() -> None:
    class Heads(Server):
        @contextmanager
        def _answer(self, url: str, what: str, headers: dict[str, str], method: str = "GET") -> Iterator[Any]:
            yield SimpleNamespace(headers={"etag": '"a b"'})

    with pytest.raises(RemoteError) as caught:
        Heads(1, ranges=True).etag(URL, "model.safetensors")
    assert caught.value.message == "hf://org/model: model.safetensors has an ETag that is none: 'a b'"
    assert caught.value.help == "is HF_ENDPOINT the address of a Hub?"
