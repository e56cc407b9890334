"""Servers that misbehave: a bounded retry, or one clear error that names no address and no token."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.errors import CkptkitError, RemoteError
from ckptkit.storage import hub_http
from tests.hub.conftest import REAL
from tests.hub.replica import llama_8b
from tests.hub.server import SIGNATURE, TOKEN, FakeHub
from tests.hub.store import Blob

MODEL = REAL / "llama" / "quark-ptpc-sharded"
SHARD = r"00001-of-00003\.safetensors"
AT_STORAGE = r"^/org/model/\w+/model-00001"
CONFIG = r"/resolve/\w+/config\.json"


def error_of(location: str = "hf://org/model", level: Level = Level.SCALES) -> str:
    """The text of the error that a validation ends with."""
    with pytest.raises(CkptkitError) as caught:
        ckptkit.validate(location, level=level)
    text = str(caught.value)
    assert TOKEN not in text
    assert SIGNATURE not in text
    assert caught.value.help
    return text


# -- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [SHARD, AT_STORAGE, CONFIG, "/api/models/.*/tree/", "/revision/"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cut", {}),
        ("status", {"status": 500}),
        ("status", {"status": 503, "headers": {"Retry-After": "0"}}),
        ("status", {"status": 429, "headers": {"Retry-After": "0"}}),
        ("status", {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}}),
    ],
)
def test_passing_faults_are_retried(hub: FakeHub, pattern: str, kind: str, options: dict[str, object]) -> None:
    hub.add("org/model", MODEL)
    hub.inject(pattern, kind, times=2, **options)
    assert ckptkit.validate("hf://org/model", level=Level.SCALES).clean
    assert all(fault.times == 0 for fault in hub.faults)


def test_a_cut_read_goes_on_where_it_broke_off(hub: FakeHub) -> None:
    hub.add("org/model", MODEL)
    hub.inject(AT_STORAGE, "cut", times=3)
    assert ckptkit.validate("hf://org/model").clean
    starts = [entry.range for entry in hub.log if entry.host == "storage" and "00001-of" in entry.path and entry.range]
    begins = [int(item.removeprefix("bytes=").partition("-")[0]) for item in starts[:4]]
    assert begins == sorted(set(begins))
    assert begins[1] > 0


def test_an_expired_storage_address_is_asked_for_again(hub: FakeHub) -> None:
    hub.add("org/model", MODEL)
    checkpoint = ckptkit.open("hf://org/model")
    hub.inject(AT_STORAGE, "status", times=1, status=403)
    tensors = [tensor for tensor in checkpoint.scale_tensors() if "00001-of" in tensor.shard]
    assert dict(checkpoint.container.read_many(tensors)) == dict(ckptkit.open(MODEL).container.read_many(tensors))


@pytest.mark.parametrize("size", ["small", "8 GB"])
def test_a_server_without_ranges(hub: FakeHub, size: str) -> None:
    """A header comes first in its file, so hanging up early does; a scale gigabytes into one is out of reach."""
    files = llama_8b("quark-fp8-kv") if size != "small" else MODEL
    hub.add("org/model", files)
    hub.inject(r"^/org/model/\w+/", "no-range", times=1000)
    assert ckptkit.validate("hf://org/model", level=Level.HEADERS).clean
    if size == "small":
        assert ckptkit.validate("hf://org/model", level=Level.SCALES).clean
        return
    text = error_of()
    assert "ignores Range requests" in text
    assert "hf download" in text


def test_what_comes_before_the_wanted_bytes_is_skipped_whatever_the_pieces(hub: FakeHub) -> None:
    data = b"".join(number.to_bytes(4, "little") for number in range(200_000))
    hub.add("org/model", {**{path.name: Blob(path.read_bytes()) for path in MODEL.iterdir()}, "extra.bin": Blob(data)})
    hub.inject(r"extra\.bin", "no-range", times=1000)
    source = ckptkit.open("hf://org/model").container.source
    assert source.read("extra.bin", 700_001, 10) == data[700_001:700_011]


# -- what does not -------------------------------------------------------------------------------------------------


LASTING = [
    ("status", {"status": 500}, "answers with an error (500)"),
    ("status", {"status": 429, "headers": {"Retry-After": "0"}}, "limits the rate"),
    ("status", {"status": 429, "headers": {"Retry-After": "300"}}, "try again in 300 s"),
    ("late", {"seconds": 1.0}, "no answer within 0.2 s"),
    ("cut", {}, "cut|cannot be reached"),
]


#: A config that is cut is missing here: the hub library downloads it, and takes a second before each resumption.
WHERE = [
    (pattern, *fault)
    for pattern in (SHARD, AT_STORAGE, "/api/models/.*/tree/", CONFIG)
    for fault in LASTING
    if (pattern, fault[0]) != (CONFIG, "cut")
]


@pytest.mark.parametrize(("pattern", "kind", "options", "words"), WHERE)
def test_lasting_faults_become_one_error(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    kind: str,
    options: dict[str, object],
    words: str,
) -> None:
    from huggingface_hub import constants

    hub.add("org/model", MODEL)
    hub.inject(pattern, kind, times=1000, **options)
    monkeypatch.setattr(hub_http, "RETRIES", 2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    begin = time.monotonic()
    text = error_of()
    assert any(word in text for word in words.split("|")), text
    assert time.monotonic() - begin < 5
    asked = [fault for fault in hub.faults if fault.times < 1000]
    assert 1000 - asked[0].times <= 10


def test_a_dripping_server_is_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.add("org/model", MODEL)
    hub.inject(SHARD, "drip", times=1000, seconds=0.01)
    monkeypatch.setattr(hub_http, "RETRIES", 1)
    monkeypatch.setattr(hub_http, "SLOWEST", 1 << 20)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    assert "too slowly" in error_of()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("hf://org/nothing", "no such repository on the Hub, or it is private"),
        ("org/nothing", "no folder org/nothing here, and no such repository"),
        ("hf://org/model@v9", "no revision 'v9'"),
        ("hf://org/model/sub", "hf://org/model/sub: the repository has no folder 'sub'"),
        ("org/model@v9", "no folder org/model@v9 here, and the repository has no revision 'v9'"),
        ("hf://org/private", "or it is private"),
    ],
)
def test_what_is_not_there(hub: FakeHub, location: str, words: str) -> None:
    hub.add("org/model", MODEL)
    hub.add("org/private", MODEL, private=True)
    assert words in error_of(location)


def test_a_gated_repository(login: FakeHub) -> None:
    login.add("org/model", MODEL, gated=True)
    text = error_of()
    assert "gated" in text
    assert "accept its conditions" in text


def test_a_token_that_is_not_valid(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", MODEL, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    text = error_of()
    assert "does not accept your token" in text
    assert "hf_expired" not in text


def test_no_server_at_all(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_http, "RETRIES", 1)
    assert "hf://org/model: the Hub cannot be reached" in error_of()
    assert "hf://out/typo: no folder out/typo here, and the Hub cannot be reached" in error_of("out/typo")


def test_a_mistyped_path_is_said_in_offline_mode_too(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "no folder out/typo here, and the hub library is in offline mode" in error_of("out/typo")


def test_a_repository_that_fails_after_it_was_found_is_no_typo(hub: FakeHub) -> None:
    hub.add("org/model", MODEL)
    hub.inject("/tree/", "status", times=1000, status=500)
    text = error_of("org/model")
    assert "answers with an error" in text
    assert "no folder" not in text


def test_a_listing_that_is_gone_is_no_missing_folder(hub: FakeHub) -> None:
    hub.add("org/model", MODEL)
    hub.inject("/tree/", "status", times=1000, status=404)
    assert "no such repository on the Hub" in error_of()


def test_a_server_that_is_no_hub(hub: FakeHub) -> None:
    hub.add("org/model", MODEL)
    hub.inject("/revision/", "status", times=1000, status=200)
    assert "names no commit" in error_of()


def test_a_fault_of_the_server_is_not_a_fault_of_the_checkpoint(hub: FakeHub) -> None:
    """Exit code 2, not a finding: nobody should fix a checkpoint because a server is down."""
    hub.add("org/model", MODEL)
    hub.inject(SHARD, "status", times=1000, status=404)
    with pytest.raises(RemoteError):
        ckptkit.validate("hf://org/model")


def test_a_failed_conversion_leaves_nothing(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/model", MODEL)
    source = "hf://org/model"
    made = ckptkit.plan(source, to="ct")
    assert made.cost.total > 0
    hub.inject(AT_STORAGE, "status", times=1000, status=500)
    with pytest.raises(CkptkitError):
        ckptkit.convert(source, tmp_path / "out", to="ct")
    assert list(tmp_path.glob("*out*")) == []
