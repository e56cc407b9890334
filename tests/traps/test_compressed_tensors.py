"""Traps of compressed-tensors checkpoints, read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from tests.damage import REAL, load, reshaped, tensors_of
from tests.traps.common import block_of, codes, convert, notes, refusal


@pytest.mark.parametrize(
    ("fixture", "wrong", "to"),
    [("llama/llmcompressor-dynamic", (-1,), "ct"), ("llama/quark-ptpc", (-1, 1), "quark")],
)
def test_trap_04_rank_of_channel_scales(
    fixture: str, wrong: tuple[int, ...], to: str, tmp_path: Path, out: Path
) -> None:
    bent = load(fixture)
    bent.change(r".*\.weight_scale", reshaped(*wrong))
    source = bent.write(tmp_path / "source")
    assert "CK301" in codes(source)
    convert(source, out, to=to)
    assert tensors_of(out) == tensors_of(REAL / fixture)


def test_trap_05_a_square_weight_hides_the_wrong_axis(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    square = "layers.0.self_attn.k_proj"
    assert next(t.shape for n, t in bent.tensors.items() if n.endswith(f"{square}.weight")) == (64, 64)
    bent.change(rf".*{square}\.weight_scale", reshaped(-1))
    source = bent.write(tmp_path / "source")
    assert "CK301" in codes(source)
    convert(source, out, to="ct")
    assert tensors_of(out) == tensors_of(REAL / "llama/llmcompressor-dynamic")


def test_trap_29_the_head_is_always_named(tmp_path: Path, out: Path) -> None:
    convert(REAL / "llama-tied/quark-ptpc", out, to="ct")
    assert block_of(out)["ignore"] == ["lm_head"]
    bent = load("llama/llmcompressor-dynamic")
    for ending in ("weight", "weight_scale"):
        donor = bent.tensors[f"model.layers.0.self_attn.o_proj.{ending}"]
        bent.tensors[f"lm_head.{ending}"] = donor
    bent.block["ignore"] = []
    bent.block["config_groups"]["group_0"]["targets"] = ["Linear", "lm_head"]
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "again", to="ct")
    assert block_of(tmp_path / "again")["config_groups"]["group_0"]["targets"] == ["Linear", "lm_head"]
    assert block_of(tmp_path / "again")["ignore"] == []
    assert refusal(source, "quark") == {"quantized-head"}


def test_trap_30_type_and_format_are_written(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-fp8-kv")
    group = bent.block["config_groups"]["group_0"]
    del group["weights"]["type"], group["format"], bent.block["format"]
    source = bent.write(tmp_path / "source")
    assert "CK618" in codes(source)
    convert(source, out, to="ct")
    written = block_of(out)["config_groups"]["group_0"]
    assert written["weights"]["type"] == written["input_activations"]["type"] == "float"
    assert written["format"] == block_of(out)["format"] == "float-quantized"
    assert block_of(out)["kv_cache_scheme"]["type"] == "float"


def test_trap_31_a_class_in_ignore(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["ignore"].append("Linear")
    source = bent.write(tmp_path / "source")
    assert "ct-ignore-class" in {fault.kind for fault in ckptkit.open(source).faults}
    assert "CK606" in codes(source)
    convert(REAL / "mixtral/quark-ptpc-experts", out, to="ct")
    assert all("." in entry or entry == "lm_head" for entry in block_of(out)["ignore"])


def test_trap_32_presets_are_spelled_out(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["config_groups"] = {"FP8_DYNAMIC": ["Linear"]}
    source = bent.write(tmp_path / "source")
    assert "CK618" in codes(source)
    convert(source, out, to="ct")
    assert block_of(out)["config_groups"]["group_0"]["weights"]["strategy"] == "channel"
    assert tensors_of(out) == tensors_of(REAL / "llama/llmcompressor-dynamic")


def test_trap_33_a_group_size_that_engines_ignore_does_not_become_quark(tmp_path: Path) -> None:
    bent = load("llama-block-aligned/llmcompressor-block")
    bent.block["config_groups"]["group_0"]["input_activations"]["group_size"] = 64
    assert refusal(bent.write(tmp_path / "source"), "quark") == {"group-size", "requantize"}


@pytest.mark.parametrize("to", ["ct", "quark"])
def test_trap_34_blocks_without_input_quantization_are_refused(to: str, tmp_path: Path) -> None:
    bent = load("llama-block-aligned/llmcompressor-block")
    bent.block["config_groups"]["group_0"]["input_activations"] = None
    assert refusal(bent.write(tmp_path / "source"), to) == {"inputs"}


def test_trap_35_dynamic_per_tensor_inputs_run_per_token(tmp_path: Path, out: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.drop(r".*\.input_scale")
    bent.block["global_quant_config"]["input_tensors"]["is_dynamic"] = True
    source = bent.write(tmp_path / "source")
    plan = convert(source, out, to="ct").plan
    assert "per token" in notes(plan)
    assert block_of(out)["config_groups"]["group_0"]["input_activations"]["strategy"] == "tensor"
    assert "per tensor" in notes(ckptkit.plan(out, to="quark"))


def test_trap_36_groups_of_inputs_on_per_tensor_weights_are_refused(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.drop(r".*\.input_scale")
    bent.block["global_quant_config"]["input_tensors"].update(is_dynamic=True, qscheme="per_group", group_size=128)
    source = bent.write(tmp_path / "source")
    assert refusal(source, "quark") == refusal(source, "ct") == {"inputs"}


def test_trap_37_kv_names_that_compressed_tensors_does_not_map(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic-kv")
    bent.rename(r"(.*)\.k_scale", r"\1.k_proj.output_scale")
    bent.rename(r"(.*)\.v_scale", r"\1.v_proj.output_scale")
    source = bent.write(tmp_path / "source")
    assert "CK903" in codes(source)
    convert(source, out, to="ct")
    assert tensors_of(out) == tensors_of(REAL / "llama/llmcompressor-dynamic-kv")
    bent = load("llama/llmcompressor-dynamic-kv")
    bent.drop(r".*\.v_scale")
    bent.rename(r"(.*)\.k_scale", r"\1.kv_scale")
    assert "CK208" in refusal(bent.write(tmp_path / "fused"), "quark")


@pytest.mark.parametrize("fixture", ["llama/llmcompressor-dynamic-kv", "llama/quark-fp8-kv-custom"])
def test_trap_38_one_kv_scale_alone_is_refused(fixture: str, tmp_path: Path) -> None:
    bent = load(fixture)
    bent.drop(r".*\.k_scale")
    source = bent.write(tmp_path / "source")
    assert "CK904" in codes(source)
    assert "CK904" in refusal(source, "ct")


@pytest.mark.parametrize("status", [None, "frozen"])
def test_trap_52_the_status_is_written(status: str | None, tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["quantization_status"] = status
    source = bent.write(tmp_path / "source")
    assert "CK618" in codes(source)
    convert(source, out, to="ct")
    assert block_of(out)["quantization_status"] == "compressed"
