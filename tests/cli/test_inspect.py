"""``ckptkit inspect`` and ``ckptkit diff``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import REAL, Run


@pytest.mark.parametrize(
    ("fixture", "scheme"),
    [
        (
            "llama/llmcompressor-dynamic",
            "W8A8 FP8, static per-channel weights, dynamic per-token activations, KV cache not quantized, "
            "ignored: lm_head",
        ),
        (
            "llama/quark-fp8-kv",
            "W8A8 FP8, static per-tensor weights, static per-tensor activations, FP8 KV cache, static per-tensor, "
            "ignored: lm_head",
        ),
        (
            "llama-tied/quark-ptpc",
            "W8A8 FP8, static per-channel weights, dynamic per-token activations, KV cache not quantized, "
            "ignored: lm_head (tied)",
        ),
        (
            "gemma3/quark-fp8-kv",
            "W8A8 FP8, static per-tensor weights, static per-tensor activations, FP8 KV cache, static per-tensor, "
            "ignored: lm_head, model.vision_tower.*",
        ),
    ],
)
def test_the_scheme_in_words(run: Run, fixture: str, scheme: str) -> None:
    assert run("inspect", REAL / fixture, "--json").json["scheme"] == scheme
    assert scheme in run("inspect", REAL / fixture).out


def test_sizes_are_those_of_the_file(run: Run) -> None:
    folder = REAL / "llama/llmcompressor-dynamic"
    document = run("inspect", folder, "--json").json
    weights = document["bytes_by_dtype"]["F8_E4M3"]
    file_size = (folder / "model.safetensors").stat().st_size
    assert document["data_bytes"] < file_size < document["data_bytes"] + 8192
    scales = sum(2 * kind["shape"][0] * kind["count"] for kind in document["modules"] if kind["name"] != "lm_head")
    assert document["original_bytes"] == document["data_bytes"] + weights - scales


def test_tensors_are_listed_on_request(run: Run) -> None:
    folder = REAL / "llama/quark-ptpc"
    assert "tensor_list" not in run("inspect", folder, "--json").json
    listed = run("inspect", folder, "--json", "--tensors").json["tensor_list"]
    assert len(listed) == 35
    assert {"name", "dtype", "shape", "shard", "bytes"} == listed[0].keys()
    assert "model.layers.1.self_attn.v_proj.weight_scale" in run("inspect", folder, "--tensors").out


def test_a_closed_stdout_is_no_reason_to_stop() -> None:
    command = 'exec "$0" -m ckptkit inspect "$1" >&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, REAL / "llama/quark-ptpc"], stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stderr_is_no_reason_to_stop(tmp_path: Path) -> None:
    command = 'exec "$0" -m ckptkit convert "$1" "$2" --to ct 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, REAL / "llama/quark-ptpc", tmp_path / "out"],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0 and b"written" in done.stdout


def test_no_line_of_a_table_ends_in_blanks(run: Run) -> None:
    lines = run("inspect", REAL / "llama/quark-ptpc", "--tensors").out.splitlines()
    assert len(lines) > 40 and all(line == line.rstrip() for line in lines)


def test_an_unquantized_checkpoint_is_explained(run: Run, tmp_path: Path) -> None:
    outcome = run("inspect", REAL / "llama/bf16")
    assert outcome.code == 0 and "not quantized (BF16)" in outcome.out
    outcome = run("convert", REAL / "llama/bf16", tmp_path / "out", "--to", "ct")
    assert outcome.code == 2
    assert "not a quantized checkpoint" in outcome.err


def test_the_same_model_in_two_formats(run: Run) -> None:
    outcome = run("diff", REAL / "qwen3/quark-ptpc", REAL / "qwen3/llmcompressor-dynamic")
    assert outcome.code == 0
    assert "the same model" in outcome.out


def test_differences_are_named(run: Run, tmp_path: Path) -> None:
    source = REAL / "llama/quark-ptpc"
    changed = tmp_path / "changed"
    shutil.copytree(source, changed)
    data = bytearray((changed / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (changed / "model.safetensors").write_bytes(data)
    outcome = run("diff", source, changed, "--json")
    assert outcome.code == 1
    (difference,) = outcome.json["differences"]
    assert difference["subject"].endswith(".weight")
    assert difference["aspect"].startswith("values, the first at element")
    assert "1 difference" in run("diff", source, changed).out


def test_what_is_not_there_is_none(run: Run) -> None:
    """A KV cache that is quantized on one side only."""
    outcome = run("diff", REAL / "llama/quark-fp8-kv", REAL / "llama/quark-ptpc", "--json")
    (cache,) = [item for item in outcome.json["differences"] if item["subject"] == "KV cache"]
    assert cache["right"] == "none" and cache["left"] != "none"


def test_another_config_is_another_model(run: Run, tmp_path: Path) -> None:
    """Tensors alone do not make a model; a tokenizer's file is said and changes nothing."""
    source = REAL / "llama/quark-ptpc"
    changed = tmp_path / "changed"
    shutil.copytree(source, changed)
    (changed / "tokenizer.json").write_text("{}", "utf-8")
    outcome = run("diff", source, changed)
    assert outcome.code == 0
    assert "tokenizer.json differs" in outcome.out and "the same model" in outcome.out
    config = (changed / "config.json").read_text("utf-8")
    (changed / "config.json").write_text(config.replace('"silu"', '"gelu"'), "utf-8")
    outcome = run("diff", source, changed)
    assert outcome.code == 1
    assert "hidden_act" in outcome.out


@pytest.mark.parametrize("keep", [True, False])
def test_a_missing_config_is_not_called_an_incomplete_one(run: Run, tmp_path: Path, keep: bool) -> None:
    shutil.copy(REAL / "llama/quark-fp8-kv" / "model.safetensors", tmp_path)
    if keep:
        (tmp_path / "config.json").write_text("{}")
    outcome = run("diff", tmp_path, tmp_path)
    assert outcome.code == 2
    assert ("the folder has no config.json" in outcome.err) != keep
    assert ("config.json has no quantization_config" in outcome.err) == keep
