"""Reading a repository: locations, what is fetched, and what it costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.storage.remote import HubLocation, HubSource, hub_location
from tests.hub.conftest import REAL, Run
from tests.hub.replica import deepseek_v3, llama_8b
from tests.hub.server import TOKEN, FakeHub
from tests.hub.store import Blob

SHARDED = REAL / "llama" / "quark-ptpc-sharded"

LOCATIONS = [
    ("hf://org/repo", HubLocation("org/repo")),
    ("hf://models/org/repo", HubLocation("org/repo")),
    ("hf://org/repo@v1.0", HubLocation("org/repo", "v1.0")),
    ("hf://org/repo@refs/pr/12", HubLocation("org/repo", "refs/pr/12")),
    ("hf://org/repo@refs/pr/12/fp8", HubLocation("org/repo", "refs/pr/12", "fp8")),
    ("hf://org/repo@feature%2Ffp8/a/b", HubLocation("org/repo", "feature/fp8", "a/b")),
    ("hf://org/repo/a/b/", HubLocation("org/repo", None, "a/b")),
    ("org/repo", HubLocation("org/repo")),
    ("org/repo@main", HubLocation("org/repo", "main")),
    ("https://huggingface.co/org/repo", HubLocation("org/repo")),
    ("https://huggingface.co/org/repo/tree/refs/pr/1/fp8", HubLocation("org/repo", "refs/pr/1", "fp8")),
    ("https://huggingface.co/org/repo/discussions/1", None),
    ("./org/repo", None),
    ("/org/repo", None),
    ("~/repo", None),
    ("org/repo/deeper", None),
    ("repo", None),
    ("s3://org/repo", None),
]


@pytest.mark.parametrize(("text", "location"), LOCATIONS)
def test_locations(text: str, location: HubLocation | None) -> None:
    assert hub_location(text) == location


@pytest.mark.parametrize("text", ["hf://", "hf://repo", "hf://datasets/org/repo", "hf://org/re po"])
def test_other_hub_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a model repository"):
        hub_location(text)


def test_a_local_folder_wins(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SHARDED, tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    assert ckptkit.validate("org/model").traffic is None
    assert not hub.log


@pytest.mark.parametrize("location", ["org/model", "hf://org/model", "hf://org/model@v1", "hf://org/other/fp8"])
def test_a_repository_is_read_like_the_folder(hub: FakeHub, location: str) -> None:
    repo = hub.add("org/model", SHARDED)
    repo.refs["refs/tags/v1"] = repo.refs["refs/heads/main"]
    hub.add("org/other", {f"fp8/{name}": blob for name, blob in repo.head().files.items()})
    remote, local = ckptkit.open(location), ckptkit.open(SHARDED)
    assert remote.container.tensors == local.container.tensors
    assert remote.modules == local.modules
    assert remote.container.source.files() == local.container.source.files()
    report = ckptkit.validate(location, level=Level.SCALES)
    assert report.findings == ckptkit.validate(SHARDED).findings
    assert ckptkit.diff(location, SHARDED).same
    assert ckptkit.diff(location, SHARDED, level=Level.FULL).same


def test_reads_stay_at_one_commit(hub: FakeHub) -> None:
    repo = hub.add("org/model", SHARDED)
    before = repo.refs["refs/heads/main"]
    checkpoint = ckptkit.open("hf://org/model")
    repo.commit({"config.json": Blob(b"{}")})
    assert checkpoint.container.label == f"hf://org/model@{before}"
    tensor = next(iter(checkpoint.container.tensors.values()))
    assert len(checkpoint.container.read(tensor)) == tensor.nbytes


def test_conversion_streams_into_the_destination(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/model", SHARDED)
    ckptkit.convert("hf://org/model", tmp_path / "remote", to="ct", fsync=False)
    ckptkit.convert(SHARDED, tmp_path / "local", to="ct", fsync=False)
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "remote").iterdir())
    assert ckptkit.diff(tmp_path / "remote", tmp_path / "local").same


def test_the_second_look_uses_the_cache_of_the_hub_library(hub: FakeHub) -> None:
    hub.add("org/model", SHARDED)
    ckptkit.validate("hf://org/model")
    with hub.recorded() as requests:
        ckptkit.validate("hf://org/model")
    assert not [entry for entry in requests if entry.path.endswith(".json")]


def test_downloaded_shards_are_not_fetched_again(hub: FakeHub) -> None:
    from huggingface_hub import snapshot_download

    hub.add("org/model", SHARDED)
    snapshot_download("org/model")
    with hub.recorded() as requests:
        report = ckptkit.validate("hf://org/model", level=Level.SCALES)
    assert report.clean
    assert all(entry.path.startswith("/api/") for entry in requests)


def test_offline_reads_what_is_cached(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, snapshot_download

    hub.add("org/model", SHARDED)
    snapshot_download("org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.recorded() as requests:
        assert ckptkit.validate("hf://org/model").clean
        with pytest.raises(CkptkitError, match="offline"):
            ckptkit.validate("hf://org/another")
    assert not requests


# -- cost ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "level", "requests", "kilobytes"),
    [
        ("quark-fp8-kv", Level.HEADERS, 12, 200),
        ("llmcompressor-dynamic", Level.HEADERS, 12, 200),
        ("quark-fp8-kv", Level.SCALES, 18, 800),
        # 2.4 MB of these are the scales themselves: one for each of 1,245,184 rows.
        ("llmcompressor-dynamic", Level.SCALES, 18, 3_500),
    ],
)
def test_9_gigabytes_are_judged_for_little(
    hub: FakeHub, fixture: str, level: Level, requests: int, kilobytes: int
) -> None:
    files = llama_8b(fixture)
    assert sum(blob.size for blob in files.values()) > 9_000_000_000
    hub.add("org/llama-8b", files)
    with hub.recorded() as log:
        report = ckptkit.validate("hf://org/llama-8b", level=level)
    assert report.clean
    asked = [entry for entry in log if entry.path != "/api/agent-harnesses"]
    assert report.traffic == (len(asked), sum(entry.sent for entry in asked))
    assert report.traffic.requests <= requests
    assert report.traffic.nbytes < kilobytes * 1000


def test_688_gigabytes_are_judged_for_their_headers_and_a_megabyte(hub: FakeHub) -> None:
    """DeepSeek-V3, with its index of 9 MB: two requests a shard, the second for what the first points to."""
    files = deepseek_v3()
    assert sum(blob.size for blob in files.values()) > 688_000_000_000
    shards = [blob for name, blob in files.items() if name.endswith(".safetensors")]
    headers = sum(8 + int.from_bytes(blob.read(0, 8), "little") for blob in shards)
    hub.add("org/deepseek-v3", files)
    report = ckptkit.validate("hf://org/deepseek-v3")
    assert report.clean and report.traffic is not None
    assert {finding.code for finding in report.findings} == {"CK605", "CK614", "CK803"}
    assert report.traffic.nbytes < headers + files["model.safetensors.index.json"].size + 1_000_000
    assert report.traffic.requests <= 2 * len(shards) + 5


def test_remote_checkpoints_are_judged_by_headers_by_default(hub: FakeHub) -> None:
    hub.add("org/llama-8b", llama_8b("quark-fp8-kv"))
    assert ckptkit.validate("hf://org/llama-8b").level is Level.HEADERS
    summary = ckptkit.inspect("hf://org/llama-8b")
    assert summary.scales == ()
    assert summary.traffic is not None
    assert summary.traffic.nbytes < 200_000


def test_diff_of_two_repositories_fetches_no_weights(hub: FakeHub) -> None:
    hub.add("org/quark", llama_8b("quark-fp8-kv"))
    hub.add("org/ct", llama_8b("llmcompressor-fp8-kv"))
    comparison = ckptkit.diff("hf://org/quark", "hf://org/ct")
    assert comparison.same
    assert comparison.level is Level.SCALES
    assert sum(entry.sent for entry in hub.log) < 2_000_000


def test_weights_of_repositories_are_measured_when_somebody_asks(hub: FakeHub) -> None:
    base, quantized = REAL / "llama/bf16", SHARDED
    hub.add("org/base", base)
    hub.add("org/fp8", quantized)
    quick = ckptkit.diff("hf://org/base", "hf://org/fp8")
    assert (quick.level, quick.errors) == (Level.SCALES, None)
    assert {difference.aspect for difference in quick.differences} == {"scheme"}
    full = ckptkit.diff("hf://org/base", "hf://org/fp8", level="full")
    assert full.errors is not None and full.errors == ckptkit.diff(base, quantized).errors


def test_one_read_brings_the_header_of_each_of_many_shards(hub: FakeHub) -> None:
    hub.add("org/model", SHARDED)
    with hub.recorded() as log:
        ckptkit.open("hf://org/model")
    shards = [entry for entry in log if entry.path.split("?")[0].endswith(".safetensors")]
    assert len(shards) == 2 * 3
    assert sum(entry.host == "storage" for entry in shards) == 3


# -- secrets -------------------------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_only(login: FakeHub) -> None:
    login.add("org/model", SHARDED, private=True)
    assert ckptkit.validate("hf://org/model", level=Level.SCALES).clean
    assert all(entry.authorized == (entry.host == "hub") for entry in login.log if "harnesses" not in entry.path)


def test_the_command_line(server: FakeHub, run: Run) -> None:
    server.add("org/model", SHARDED, private=True)
    done = run("ckptkit", "validate", "org/model")
    assert done.returncode == 0, done.stderr
    assert "requests" in done.stdout
    assert "fetched" in done.stdout
    done = run("ckptkit", "inspect", "hf://org/model")
    assert done.returncode == 0, done.stderr
    assert "W8A8 FP8" in done.stdout
    assert "scales " not in done.stdout
    assert "scales   weight: 14 tensors" in run("ckptkit", "inspect", "org/model", "--scales").stdout
    done = run("ckptkit", "inspect", "hf://org/model", HF_TOKEN="")
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_names_that_leave_the_folder_are_not_read(hub: FakeHub) -> None:
    files = {name: Blob(b"x") for name in ("../evil", "a/../../evil", "/etc/passwd")}
    repo = hub.add("org/model", SHARDED)
    repo.commit({**repo.head().files, **files})
    source = HubSource(HubLocation("org/model"))
    assert {entry.name for entry in source.files()} == {path.name for path in SHARDED.iterdir()}
    assert len(source.faults()) == 3
    assert not ckptkit.validate("hf://org/model").clean
