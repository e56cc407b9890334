"""Findings of which how bad they are depends on the case: what real exports hold and hardly anybody minds."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.checks.finding import Finding, Severity
from tests.damage import CT, CT_KV, MOE, MutableCheckpoint, load
from tests.raw import RawTensor
from tests.rules.case import codes, report

FULL_ATTENTION = ("q", "k", "v", "o")


def found(checkpoint: MutableCheckpoint, code: str) -> list[Finding]:
    return [finding for finding in report(checkpoint).findings if finding.code == code]


def test_a_forgotten_router_hurts_only_where_it_is_quantized() -> None:
    checkpoint = load(MOE)
    checkpoint.block["ignore"] = ["lm_head"]
    assert {finding.severity for finding in found(checkpoint, "CK605")} == {Severity.WARNING}
    checkpoint.config["architectures"] = ["DeepseekV3ForCausalLM"]
    notes = found(checkpoint, "CK605")
    assert {finding.severity for finding in notes} == {Severity.INFO} and notes[0].engines == ()


def test_a_prediction_layer_needs_no_kv_scales() -> None:
    checkpoint = load(CT_KV)
    for part in FULL_ATTENTION:
        for ending in ("weight", "weight_scale", "input_scale"):
            stored = checkpoint.get(f"model.layers.0.self_attn.{part}_proj.{ending}")
            checkpoint.put(f"mtp.layers.0.self_attn.{part}_proj.{ending}", stored.dtype, stored.shape, stored.data)
    (finding,) = found(checkpoint, "CK905")
    assert finding.severity is Severity.WARNING and finding.tensor == "mtp.layers.0.self_attn"


@pytest.mark.parametrize(
    ("architecture", "hit"), [("PhimoeForCausalLM", True), ("Qwen3VLMoeForConditionalGeneration", True), (None, False)]
)
def test_classes_whose_single_experts_transformers_leaves_out(architecture: str | None, hit: bool) -> None:
    checkpoint = load(MOE)
    if architecture:
        checkpoint.config["architectures"] = [architecture]
    left_out = [finding for finding in found(checkpoint, "CK207") if "no single experts" in finding.message]
    assert bool(left_out) == hit
    assert all({effect.engine for effect in finding.engines} == {"transformers"} for finding in left_out)


def test_experts_in_one_tensor_are_sound_and_refused() -> None:
    checkpoint = load(CT)
    checkpoint.put("model.layers.0.block_sparse_moe.input_linear.weight", "F8_E4M3", (4, 8, 16), b"\x38" * 512)
    checkpoint.put("model.layers.0.block_sparse_moe.input_linear.weight_scale", "BF16", (4, 8, 1), b"\x80\x3f" * 32)
    assert {"CK202", "CK606"}.isdisjoint(codes(checkpoint))
    (finding,) = found(checkpoint, "CK207")
    assert finding.severity is Severity.INFO and "scale [4, 8, 1]" in (finding.found or "")


@pytest.mark.parametrize(
    ("key", "severity", "help"),
    [("provider", Severity.INFO, None), ("ignored", Severity.WARNING, "did you mean 'ignore'?")],
)
def test_a_key_that_nobody_reads_matters_where_it_is_misspelt(key: str, severity: Severity, help: str | None) -> None:
    checkpoint = load(CT)
    checkpoint.block[key] = ["lm_head"]
    finding = next(finding for finding in found(checkpoint, "CK619") if finding.found == key)
    assert (finding.severity, finding.help) == (severity, help)


@pytest.mark.parametrize(
    ("sparsity", "severity"),
    [
        ({"format": "dense", "targets": ["Linear"]}, Severity.WARNING),
        ({"format": "sparse-24-bitmask", "targets": ["Linear"]}, Severity.ERROR),
    ],
)
def test_sparse_storage_stops_vllm(sparsity: dict[str, Any], severity: Severity) -> None:
    checkpoint = load(CT)
    checkpoint.block["sparsity_config"] = sparsity
    assert found(checkpoint, "CK620")[0].severity is severity


@pytest.mark.parametrize("name", ["int-quantized", "pack-quantized", "marlin-24"])
def test_another_format_of_the_same_library_is_no_mistake(name: str) -> None:
    checkpoint = load(CT)
    checkpoint.block["format"] = checkpoint.group["format"] = name
    checkpoint.group["weights"]["type"] = "int"
    (finding,) = found(checkpoint, "CK600")
    assert finding.severity is Severity.WARNING and f"{name!r} is not supported" in finding.message


def test_floats_of_eight_bits_are_no_packed_integers() -> None:
    checkpoint = load(CT)
    checkpoint.block["format"] = checkpoint.group["format"] = "pack-quantized"
    (finding,) = found(checkpoint, "CK600")
    assert finding.severity is Severity.ERROR and finding.expected == "float-quantized"


def test_words_of_any_case_are_read() -> None:
    checkpoint = load(CT)
    checkpoint.group["weights"].update(type="FLOAT", strategy="CHANNEL")
    assert codes(checkpoint) == codes(load(CT))


def test_modelopt_is_named_without_its_method() -> None:
    checkpoint = load(CT)
    checkpoint.config["quantization_config"] = {"quant_algo": "FP8", "producer": {"name": "modelopt"}}
    assert found(checkpoint, "CK623")
    assert not found(checkpoint, "CK600")


def test_towers_beside_the_language_model_are_known_by_name() -> None:
    checkpoint = load(CT)
    checkpoint.rename(r"model\.layers\.1\.(.*)", r"model.encoder.layers.1.\1")
    assert "CK612" not in codes(checkpoint)
    checkpoint.rename(r"model\.encoder\.layers\.1\.(.*)", r"vision_tower.layers.1.\1")
    assert "CK612" in codes(checkpoint)


def test_the_type_of_the_cache_is_a_word_of_one_case() -> None:
    """Seen with vLLM: "Currently supported kv cache quantization is num_bits=8, type=float, however received FLOAT"."""
    checkpoint = load(CT_KV)
    assert found(checkpoint, "CK912") == []
    checkpoint.block["kv_cache_scheme"]["type"] = "FLOAT"
    (finding,) = found(checkpoint, "CK912")
    assert finding.severity is Severity.ERROR and finding.found == "'FLOAT'"


def test_weights_saved_uncompressed_are_one_finding() -> None:
    """BF16 beside every scale: the scales are no orphans, the export was not compressed."""
    checkpoint = load(CT)
    checkpoint.change(
        r".*layers.*_proj\.weight", lambda tensor: RawTensor("BF16", tensor.shape, bytes(2 * len(tensor.data)))
    )
    (finding,) = found(checkpoint, "CK602")
    assert "saved uncompressed" in finding.message and "14 scales beside them" in (finding.found or "")
    assert not found(checkpoint, "CK202")
    checkpoint.block["quantization_status"] = "frozen"  # of no interest where there are no codes
    assert not found(checkpoint, "CK618")
    one = load(CT)
    one.change(
        r"model\.layers\.0\.mlp\.up_proj\.weight",
        lambda tensor: RawTensor("BF16", tensor.shape, bytes(2 * len(tensor.data))),
    )
    assert not found(one, "CK602") and found(one, "CK202")
