"""Findings of which how bad they are depends on the case: what real exports hold and hardly anybody minds."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.checks.finding import Finding, Severity
from tests.rules.mutate import CT, CT_KV, MOE, Draft, load

FULL_ATTENTION = ("q", "k", "v", "o")


def found(draft: Draft, code: str) -> list[Finding]:
    return [finding for finding in draft.report().findings if finding.code == code]


def test_a_forgotten_router_hurts_only_where_it_is_quantized() -> None:
    draft = load(MOE)
    draft.block["ignore"] = ["lm_head"]
    assert {finding.severity for finding in found(draft, "CK605")} == {Severity.WARNING}
    draft.config["architectures"] = ["DeepseekV3ForCausalLM"]
    notes = found(draft, "CK605")
    assert {finding.severity for finding in notes} == {Severity.INFO} and notes[0].engines == ()


def test_a_prediction_layer_needs_no_kv_scales() -> None:
    draft = load(CT_KV)
    for part in FULL_ATTENTION:
        for ending in ("weight", "weight_scale", "input_scale"):
            stored = draft.get(f"model.layers.0.self_attn.{part}_proj.{ending}")
            draft.put(f"mtp.layers.0.self_attn.{part}_proj.{ending}", stored.dtype, stored.shape, stored.data)
    (finding,) = found(draft, "CK905")
    assert finding.severity is Severity.WARNING and finding.tensor == "mtp.layers.0.self_attn"


@pytest.mark.parametrize(
    ("architecture", "hit"), [("PhimoeForCausalLM", True), ("Qwen3VLMoeForConditionalGeneration", True), (None, False)]
)
def test_classes_whose_single_experts_transformers_leaves_out(architecture: str | None, hit: bool) -> None:
    draft = load(MOE)
    if architecture:
        draft.config["architectures"] = [architecture]
    left_out = [finding for finding in found(draft, "CK207") if "no single experts" in finding.message]
    assert bool(left_out) == hit
    assert all({effect.engine for effect in finding.engines} == {"transformers"} for finding in left_out)


def test_experts_in_one_tensor_are_sound_and_refused() -> None:
    draft = load(CT)
    draft.put("model.layers.0.block_sparse_moe.input_linear.weight", "F8_E4M3", (4, 8, 16), b"\x38" * 512)
    draft.put("model.layers.0.block_sparse_moe.input_linear.weight_scale", "BF16", (4, 8, 1), b"\x80\x3f" * 32)
    assert {"CK202", "CK606"}.isdisjoint(draft.codes())
    (finding,) = found(draft, "CK207")
    assert finding.severity is Severity.INFO and "scale [4, 8, 1]" in (finding.found or "")


@pytest.mark.parametrize(
    ("key", "severity", "help"),
    [("provider", Severity.INFO, None), ("ignored", Severity.WARNING, "did you mean 'ignore'?")],
)
def test_a_key_that_nobody_reads_matters_where_it_is_misspelt(key: str, severity: Severity, help: str | None) -> None:
    draft = load(CT)
    draft.block[key] = ["lm_head"]
    finding = next(finding for finding in found(draft, "CK619") if finding.found == key)
    assert (finding.severity, finding.help) == (severity, help)


@pytest.mark.parametrize(
    ("sparsity", "severity"),
    [
        ({"format": "dense", "targets": ["Linear"]}, Severity.WARNING),
        ({"format": "sparse-24-bitmask", "targets": ["Linear"]}, Severity.ERROR),
    ],
)
def test_sparse_storage_stops_vllm(sparsity: dict[str, Any], severity: Severity) -> None:
    draft = load(CT)
    draft.block["sparsity_config"] = sparsity
    assert found(draft, "CK620")[0].severity is severity


@pytest.mark.parametrize("name", ["int-quantized", "pack-quantized", "nvfp4-pack-quantized"])
def test_another_format_of_the_same_library_is_no_mistake(name: str) -> None:
    draft = load(CT)
    draft.block["format"] = draft.group["format"] = name
    (finding,) = found(draft, "CK600")
    assert finding.severity is Severity.WARNING and f"{name!r} is not supported" in finding.message


def test_words_of_any_case_are_read() -> None:
    draft = load(CT)
    draft.group["weights"].update(type="FLOAT", strategy="CHANNEL")
    assert draft.codes() == load(CT).codes()


def test_modelopt_is_named_without_its_method() -> None:
    draft = load(CT)
    draft.config["quantization_config"] = {"quant_algo": "FP8", "producer": {"name": "modelopt"}}
    assert found(draft, "CK623")
    assert not found(draft, "CK600")


def test_towers_beside_the_language_model_are_known_by_name() -> None:
    draft = load(CT)
    draft.rename(r"model\.layers\.1\.(.*)", r"model.encoder.layers.1.\1")
    assert "CK612" not in draft.codes()
    draft.rename(r"model\.encoder\.layers\.1\.(.*)", r"vision_tower.layers.1.\1")
    assert "CK612" in draft.codes()
