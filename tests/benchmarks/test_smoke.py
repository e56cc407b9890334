"""The benchmark at a thousandth of its size: every contest runs, and the tables come out. Times are not judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ckptkit
from benchmarks import models
from benchmarks.__main__ import dated_results, main
from benchmarks.report import as_markdown

SCALE = "0.0005"


def test_every_contest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CKPTKIT_BENCH_CACHE", str(tmp_path / "cache"))
    results = tmp_path / "results.json"
    assert main(["--scale", SCALE, "--rounds", "1", "--no-peers", "--json", str(results)]) == 0
    table = capsys.readouterr().out
    document = json.loads(results.read_text())
    assert as_markdown(document).strip() in table
    names = [contest["name"] for contest in document["contests"]]
    conversions = ["convert-llama-quark-tensor-kv", "convert-llama-ct-channel", "convert-llama-fp8-block"]
    valued = ["quantize-FP8_DYNAMIC", "dequantize-blocks", "mxfp4-blocks"]
    headers = ["headers-moe-replica", "headers-trillion-replica"]
    assert names == [*conversions, "diff-llama-ct-channel", *valued, *headers, "start-up"]
    for contest in document["contests"]:
        for entry in contest["contestants"]:
            assert entry["samples"]
            assert (entry["ratio"] == 1) is (entry["name"] == entry["against"]) or entry["ratio"] > 0
    built = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert [name.partition("-v")[0] for name in built] == sorted(f"{name}-{SCALE}" for name in models.MODELS)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_checkpoints_are_sound(name: str, tmp_path: Path) -> None:
    built = models.build(name, tmp_path, 0.001)
    report = ckptkit.validate(built.folder, ignore="CK600")  # a base is not FP8
    assert report.clean, report.findings
    assert (report.tensors, report.shards) == (built.tensors, built.shards)


def test_the_full_size_models_have_the_promised_sizes() -> None:
    quark, channel, replica, block, base, trillion, groups = (models.MODELS[name](1) for name in models.MODELS)
    assert 3.9e9 < quark.data_bytes < 4.1e9
    assert (quark.tensors, channel.tensors) == (353, 227)
    assert replica.tensors >= 100_000
    assert len(replica.shards) == 200
    assert 3.9e9 < block.data_bytes < 4.1e9
    assert 6.9e9 < base.data_bytes < 7.1e9
    assert 2.4e9 < groups.data_bytes < 2.6e9
    assert trillion.tensors >= 138_000 and len(trillion.shards) == 160


@pytest.mark.parametrize("path", dated_results(), ids=lambda path: path.name)
def test_committed_results_can_be_shown(path: Path) -> None:
    assert "| ratio |" in as_markdown(json.loads(path.read_text(encoding="utf-8")))


def test_the_document_is_what_the_newest_results_say() -> None:
    if any(json.loads(path.read_text(encoding="utf-8"))["scale"] == 1 for path in dated_results()):
        assert main(["--check"]) == 0
