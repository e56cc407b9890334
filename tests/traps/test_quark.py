"""Traps of Quark checkpoints, read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import ConversionRefused, FormatError
from ckptkit.model.granularity import PerToken
from tests.damage import REAL, load, tensors_of
from tests.traps.common import block_of, codes, convert, notes, refusal


@pytest.mark.parametrize("to", ["quark", "ct"])
def test_trap_06_globs_in_exclude_become_exact_names(to: str, tmp_path: Path, out: Path) -> None:
    bent = load("llama/quark-ptpc-excluded")
    exact = set(bent.block["exclude"])
    exact |= {name.replace("q_proj", "qkv_proj") for name in exact if name.endswith(".q_proj")}  # as SGLang asks for it
    modules = ckptkit.open(REAL / "llama/quark-ptpc-excluded").unquantized
    bent.block["exclude"] = [name.replace("model.", "*", 1) for name in modules]
    source = bent.write(tmp_path / "source")
    convert(source, out, to=to)
    assert set(block_of(out)["exclude" if to == "quark" else "ignore"]) == exact


def test_trap_07_a_regex_in_exclude_is_literal_for_quark(tmp_path: Path) -> None:
    bent = load("llama/quark-ptpc")
    bent.block["exclude"] = ["lm_head", "re:.*mlp.*"]
    checkpoint = ckptkit.open(bent.write(tmp_path / "source"))
    assert len(checkpoint.modules) == 14
    assert not checkpoint.stored_only


def test_trap_08_no_regex_in_a_written_exclude(out: Path) -> None:
    convert(REAL / "llama/llmcompressor-groups", out, to="quark")
    assert not [entry for entry in block_of(out)["exclude"] if entry.startswith("re:") or "*" in entry]


def test_trap_09_a_key_without_star_matches_backwards(tmp_path: Path, out: Path) -> None:
    """vLLM asks whether the key contains the module's name: ``up_proj`` must come before ``up_proj_extra``."""
    bent = load("llama/llmcompressor-groups")
    first, second = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"
    for name in [name for name in bent.tensors if name.startswith(f"{second}.")]:
        bent.tensors[name.replace(second, f"{first}_extra")] = bent.tensors.pop(name)
    for ending in (".weight", ".weight_scale"):
        donor = bent.tensors[f"model.layers.0.self_attn.k_proj{ending}"]
        bent.tensors[f"{first}_extra{ending}"] = donor
    del bent.tensors[f"{first}_extra.input_scale"]
    bent.block["config_groups"]["group_0"]["targets"].append(f"{first}_extra")
    bent.block["config_groups"]["group_1"]["targets"] = [r"re:.*mlp.*_proj$"]
    convert(bent.write(tmp_path / "source"), out, to="quark")
    bare = [key for key in block_of(out)["layer_quant_config"] if "*" not in key]
    assert bare == sorted(bare, key=len)
    for key in bare:
        shorter = [name for name in ckptkit.open(out).modules if name in key and name != key]
        assert all(name in bare for name in shorter)


def test_trap_10_layer_types_apply_and_are_written_by_name(tmp_path: Path, out: Path) -> None:
    bent = load("llama/quark-ptpc")
    wanted = bent.block["global_quant_config"]
    other = load("llama/quark-fp8").block["global_quant_config"]
    bent.block.update(global_quant_config=other, layer_type_quant_config={"Linear": wanted})
    source = bent.write(tmp_path / "source")
    assert "CK627" in codes(source)
    convert(source, out, to="quark")
    assert block_of(out)["layer_type_quant_config"] == {}
    assert block_of(out)["global_quant_config"]["weight"]["qscheme"] == "per_channel"
    assert ckptkit.diff(REAL / "llama/quark-ptpc", out).same


@pytest.mark.parametrize(
    "fixture", ["llama/llmcompressor-dynamic-kv", "phi3/quark-fp8-kv", "llama/quark-fp8-attention"]
)
def test_trap_11_the_kv_group_has_layer_entries_with_equal_outputs(fixture: str, out: Path) -> None:
    convert(REAL / fixture, out, to="quark")
    block = block_of(out)
    group = block["export"]["kv_cache_group"]
    assert group
    outputs = [block["layer_quant_config"][entry]["output_tensors"] for entry in group]
    assert all(output == outputs[0] and "observer_cls" in output for output in outputs)


def test_trap_12_an_empty_kv_group_goes_with_no_outputs(tmp_path: Path, out: Path) -> None:
    convert(REAL / "llama/quark-fp8", out, to="quark")
    block = block_of(out)
    assert block["export"]["kv_cache_group"] == [] and block["layer_quant_config"] == {}
    bent = load("llama/quark-fp8-kv")
    bent.block["export"]["kv_cache_group"] = []
    bent.block["kv_cache_quant_config"] = {}
    source = bent.write(tmp_path / "source")
    assert "quark-kv-group" in {fault.kind for fault in ckptkit.open(source).faults}
    convert(source, tmp_path / "fixed", to="quark")
    assert block_of(tmp_path / "fixed")["export"]["kv_cache_group"] == ["*k_proj", "*v_proj"]


def test_trap_13_both_kv_sections_are_written(out: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8-kv", out, to="quark")
    block = block_of(out)
    assert block["kv_cache_quant_config"] == block["layer_quant_config"]


def test_trap_14_the_basis_of_kv_scales_is_said(out: Path) -> None:
    plan = convert(REAL / "llama/quark-fp8-kv", out, to="ct").plan
    assert "before RoPE" in notes(plan)
    assert "before RoPE" not in notes(ckptkit.plan(REAL / "llama/quark-fp8-kv-post-rope", to="ct"))
    assert "before RoPE" not in notes(ckptkit.plan(REAL / "llama/llmcompressor-fp8-kv", to="quark"))


def test_trap_15_the_fp8_mode_keeps_v_and_says_who_does_not(out: Path) -> None:
    plan = convert(REAL / "llama/llmcompressor-fp8-kv", out, to="quark", mode="fp8").plan
    assert "uses k_scale for keys and values alike" in notes(plan)
    k, v = (tensors_of(out)[f"model.layers.0.self_attn.{role}_scale"].data for role in "kv")
    assert k != v


def test_trap_16_excluded_projections_keep_their_output_scale(out: Path) -> None:
    convert(REAL / "llama/quark-fp8-kv-excluded", out, to="ct")
    tensors = tensors_of(out)
    assert tensors["model.layers.0.self_attn.k_proj.weight"].dtype == "BF16"
    assert tensors["model.layers.0.self_attn.k_scale"].shape == (1,)
    assert "model.layers.0.self_attn.k_proj" in block_of(out)["ignore"]


def test_trap_17_static_inputs_without_a_scale_are_refused(tmp_path: Path) -> None:
    source = load("llama/quark-fp8-file2file").write(tmp_path / "source")
    assert "CK621" in codes(source)
    assert refusal(source, "ct") == {"CK621"}


def test_trap_18_a_tied_head_is_excluded_again(out: Path) -> None:
    assert load("llama-tied/quark-ptpc-file2file").block["exclude"] == []
    convert(REAL / "llama-tied/quark-ptpc-file2file", out, to="quark")
    assert block_of(out)["exclude"] == ["lm_head"]


def test_trap_19_fake_quantized_is_refused() -> None:
    with pytest.raises(FormatError, match="fake_quantized"):
        ckptkit.open(REAL / "llama/quark-fp8-fake")


def test_trap_20_an_export_block_makes_it_quark(tmp_path: Path) -> None:
    assert ckptkit.open(REAL / "llama/quark-fp8-custom").dialect == "fp8 mode"
    bent = load("llama/quark-fp8-custom")
    del bent.block["export"]
    assert ckptkit.open(bent.write(tmp_path / "plain")).format == "fp8"
    bent = load("llama/quark-fp8-custom")
    bent.block["weight_block_size"] = [128, 128]
    folder = bent.write(tmp_path / "block")
    (finding,) = (finding for finding in ckptkit.validate(folder).findings if finding.code == "CK624")
    assert (finding.severity.name, finding.found) == ("ERROR", "[128, 128]")
    with pytest.raises(ConversionRefused, match="not sound"):
        convert(folder, tmp_path / "out", to="ct")


def test_trap_21_the_null_block_size_is_explicit(out: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8", out, to="quark", mode="fp8")
    block = block_of(out)
    assert "weight_block_size" in block and block["weight_block_size"] is None
    assert block["ignored_layers"] == block["modules_to_not_convert"] == ["lm_head"]


def test_trap_22_transformers_reads_the_fp8_mode_unscaled(out: Path) -> None:
    plan = convert(REAL / "llama/llmcompressor-fp8", out, to="quark", mode="fp8").plan
    assert "transformers 5.16.1 does not apply the scales" in notes(plan)


def test_trap_39_who_turns_the_kv_cache_on_is_said() -> None:
    source = REAL / "llama/llmcompressor-fp8-kv"
    assert "by itself" in notes(ckptkit.plan(source, to="ct"))
    for mode in (None, "fp8"):
        assert "unless it is told --kv-cache-dtype fp8" in notes(ckptkit.plan(source, to="quark", mode=mode))


def test_trap_40_rounding_of_kv_scales_is_said() -> None:
    plan = ckptkit.plan(REAL / "llama/llmcompressor-fp8-kv", to="quark")
    assert "rounds the scales to the model's dtype" in notes(plan)


def test_trap_51_records_of_the_export_are_not_acted_on(tmp_path: Path, out: Path) -> None:
    bent = load("llama/quark-fp8-kv")
    bent.block["export"].update(weight_merge_groups=[["*q_proj", "*k_proj"]], pack_method="order", min_kv_scale=1.0)
    convert(bent.write(tmp_path / "source"), out, to="ct")
    assert ckptkit.diff(REAL / "llama/quark-fp8-kv", out).same


def test_trap_53_old_keys_are_read_and_fixed(tmp_path: Path, out: Path) -> None:
    bent = load("llama/quark-ptpc")
    for role in ("weight", "input_tensors"):
        spec = bent.block["global_quant_config"][role]
        spec["dynamic"], spec["axis"] = spec.pop("is_dynamic"), spec.pop("ch_axis")
        for key in ("observer_cls", "round_method", "scale_type"):
            del spec[key]
    for key in ("quant_mode", "version", "kv_cache_quant_config", "kv_cache_post_rope"):
        del bent.block[key]
    source = bent.write(tmp_path / "source")
    (scheme,) = ckptkit.open(source).schemes
    assert scheme.input is not None and scheme.input.dynamic and scheme.input.granularity == PerToken()
    assert "CK627" in codes(source)
    convert(source, out, to="quark")
    assert block_of(out)["global_quant_config"]["input_tensors"]["is_dynamic"] is True
    assert "CK627" not in codes(out)


def test_trap_54_null_outputs_are_explicit(out: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8-kv", out, to="quark")
    block = block_of(out)
    default, entries = block["global_quant_config"], block["layer_quant_config"]
    assert default["output_tensors"] is None
    for entry in entries.values():
        assert entry.keys() == default.keys()
        assert {**entry, "output_tensors": None} == default
