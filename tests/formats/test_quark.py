"""Reading and writing Quark: old exports, per-layer specs, the two layouts, what is refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import ConversionRefused, FormatError
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor
from tests.damage import REAL, MutableCheckpoint, bf16, flip, load, reshaped, scalar, tensors_of
from tests.raw import RawTensor
from tests.traps.common import block_of, convert, refusal

Change = Callable[[dict[str, Any]], Any]


def layer(fixture: str) -> dict[str, Any]:
    """The global spec of a fixture."""
    spec: dict[str, Any] = load(fixture).block["global_quant_config"]
    return spec


@pytest.mark.parametrize("value", [None, "missing"])
def test_null_and_missing_keys(value: str | None, tmp_path: Path) -> None:
    """Older exports leave out, or write null for, what newer ones write as empty."""
    bent = load("llama-tied/quark-ptpc-file2file")
    keys = ["layer_quant_config", "layer_type_quant_config", "exclude", "kv_cache_quant_config", "algo_config"]
    of_export = ["kv_cache_group", "min_kv_scale", "pack_method"]
    for body, names in ((bent.block, [*keys, "version"]), (bent.block["export"], of_export)):
        for key in names:
            if value is None:
                body[key] = None
            else:
                body.pop(key, None)
    source = bent.write(tmp_path / "source")
    assert "quark-null-key" in {fault.kind for fault in ckptkit.open(source).faults}
    convert(source, tmp_path / "out", to="quark")
    written = block_of(tmp_path / "out")
    assert (written["layer_quant_config"], written["layer_type_quant_config"]) == ({}, {})
    assert written["export"]["kv_cache_group"] == []
    assert tensors_of(tmp_path / "out") == tensors_of(source)


def test_lists_of_one_spec_are_read_and_of_two_refused(tmp_path: Path) -> None:
    bent = load("llama/quark-ptpc")
    spec = bent.block["global_quant_config"]
    spec["weight"] = [spec["weight"]]
    wanted = ckptkit.open(REAL / "llama/quark-ptpc").schemes
    assert ckptkit.open(bent.write(tmp_path / "one")).schemes == wanted
    spec["weight"] *= 2
    with pytest.raises(FormatError, match="two-level scales"):
        ckptkit.open(bent.write(tmp_path / "two"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda block: block.pop("export"), "export"),
        (lambda block: block.pop("global_quant_config"), "global_quant_config"),
        (lambda block: block["global_quant_config"]["weight"].update(dtype="int8"), "weight.dtype"),
        (lambda block: block["global_quant_config"]["weight"].update(symmetric=False), "weight.symmetric"),
        (lambda block: block["global_quant_config"]["weight"].update(ch_axis=1), "weight.ch_axis"),
        (lambda block: block["global_quant_config"].update(bias={"dtype": "fp8_e4m3"}), "bias"),
        (lambda block: block.update(exclude="lm_head"), "exclude"),
        (lambda block: block["export"].update(kv_cache_group=["*k_proj"]), "kv_cache_group"),
    ],
)
def test_what_cannot_be_understood_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    bent = load("llama/quark-ptpc")
    change(bent.block)
    with pytest.raises(FormatError, match=message):
        ckptkit.open(bent.write(tmp_path / "source"))


@pytest.mark.parametrize("fixture", ["llama/quark-ptpc", "llama/quark-fp8-custom"])
@pytest.mark.parametrize(
    "rotation",
    [
        {"name": "quarot"},
        {"name": "rotation", "r1": True, "online_r1_rotation": True},
        {"name": "rotation", "r3": True, "r4": False},
        {"name": "rotation", "r3": False, "r4": True},
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_rotations_at_run_time_are_refused(
    rotation: dict[str, Any], listed: bool, fixture: str, tmp_path: Path
) -> None:
    bent = load(fixture)
    bent.block["algo_config"] = [{"name": "smooth"}, rotation] if listed else rotation
    source = bent.write(tmp_path / "source")
    with pytest.raises(FormatError, match="algo_config"):
        ckptkit.open(source)
    assert refusal(source, "ct") == {"CK600"}


@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj.input_rotation", "shared_input_rotation_80"])
@pytest.mark.parametrize("fixture", ["llama/quark-fp8-custom", "llama/llmcompressor-dynamic"])
def test_stored_rotations_are_refused(name: str, fixture: str, tmp_path: Path) -> None:
    """Quark's fp8 mode has no place for ``algo_config``: the stored matrix is the only trace of a rotation."""
    bent = load(fixture)
    bent.put(name, "I8", (8, 8), b"\x01" * 64)
    source = bent.write(tmp_path / "source")
    for to in ("ct", "quark"):
        assert refusal(source, to) == {"CK208"}


@pytest.mark.parametrize("fixture", ["llama/quark-ptpc", "llama/quark-fp8-custom"])
def test_algorithms_that_were_folded_in_are_records(fixture: str, tmp_path: Path) -> None:
    bent = load(fixture)
    bent.block["algo_config"] = [{"name": "smooth", "alpha": 0.5}, {"name": "rotation", "r1": True, "r3": False}]
    plan = convert(bent.write(tmp_path / "source"), tmp_path / "out", to="ct").plan
    assert any("algo_config: smooth, algo_config: rotation" in note for note in plan.notes)


def test_names_of_raw_dumps(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-kv")
    for role in ("weight", "input", "output"):
        bent.rename(rf"(.*)\.{role}_scale", rf"\1.{role}_quantizer.scale")
    source = bent.write(tmp_path / "source")
    for to, mode in (("ct", None), ("quark", None), ("quark", "fp8")):
        convert(source, tmp_path / f"{to}-{mode}", to=to, mode=mode)
        assert ckptkit.diff(REAL / "llama/quark-fp8-kv", tmp_path / f"{to}-{mode}").same
    assert tensors_of(tmp_path / "quark-None") == tensors_of(REAL / "llama/quark-fp8-kv")


@pytest.mark.parametrize(
    "name", ["weight_quantizer.0.scale", "_weight_quantizer.scale", "weight_quantizer.zero_point", "weight_scale_2"]
)
def test_names_that_mean_another_storage_are_refused(name: str, tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.tensors[f"model.layers.0.mlp.up_proj.{name}"] = scalar(1.0)
    source = bent.write(tmp_path / "source")
    assert [tensor.name.endswith(name) for tensor in ckptkit.open(source).foreign] == [True]
    with pytest.raises(ConversionRefused) as error:
        ckptkit.plan(source, to="ct")
    assert {fault.kind for fault in error.value.faults} == {"CK208"}


def test_a_second_spelling_of_a_scale_is_refused(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.tensors["model.layers.0.mlp.up_proj.weight_scale_inv"] = scalar(1.0)
    source = bent.write(tmp_path / "source")
    assert len(ckptkit.open(source).foreign) == 1


def test_output_scales_in_the_fp8_mode(tmp_path: Path) -> None:
    """Early exports, and AutoFP8, spell KV scales as outputs there too."""
    bent = load("llama/quark-fp8-kv-custom")
    for role in "kv":
        bent.rename(rf"(.*)\.{role}_scale", rf"\1.{role}_proj.output_scale")
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="quark", mode="fp8")
    assert tensors_of(tmp_path / "out") == tensors_of(REAL / "llama/quark-fp8-kv-custom")


def test_one_kv_scale_for_both(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-kv-custom")
    bent.drop(r".*\.v_scale")
    bent.rename(r"(.*)\.k_scale", r"\1.kv_scale")
    source = bent.write(tmp_path / "source")
    plan = convert(source, tmp_path / "out", to="ct").plan
    assert {"duplicate"} <= {operation for step in plan.steps for operation in step.operations}
    assert tensors_of(tmp_path / "out")["model.layers.0.self_attn.v_scale"].shape == (1,)
    assert ckptkit.diff(source, tmp_path / "out").same


def test_fused_projections_have_one_output_scale(tmp_path: Path) -> None:
    source = REAL / "phi3/quark-fp8-kv"
    plan = convert(source, tmp_path / "ct", to="ct").plan
    assert plan.cost.kind.value == "repack"
    assert any("on by itself" in note for note in plan.notes)
    convert(tmp_path / "ct", tmp_path / "back", to="quark")
    assert tensors_of(tmp_path / "back") == tensors_of(source)
    assert any("does not load this layout" in note for note in ckptkit.plan(source, to="quark").notes)
    assert block_of(tmp_path / "back")["export"]["kv_cache_group"] == ["*qkv_proj"]


def test_distinct_scales_of_a_fused_projection_need_the_fp8_mode(tmp_path: Path) -> None:
    convert(REAL / "phi3/quark-fp8-kv", tmp_path / "ct", to="ct")
    flip(tmp_path / "ct", "layers.1.self_attn.v_scale")
    with pytest.raises(ConversionRefused) as error:
        convert(tmp_path / "ct", tmp_path / "native", to="quark")
    (fault,) = error.value.faults
    assert fault.kind == "fused-kv-distinct"
    assert fault.help is not None and "mode fp8" in fault.help
    assert not (tmp_path / "native").exists()
    convert(tmp_path / "ct", tmp_path / "fp8", to="quark", mode="fp8")
    assert ckptkit.diff(tmp_path / "ct", tmp_path / "fp8").same


def test_the_basis_of_kv_scales_survives_every_rewriting(tmp_path: Path) -> None:
    source = REAL / "llama/quark-fp8-kv-post-rope"
    convert(source, tmp_path / "native", to="quark")
    assert block_of(tmp_path / "native")["kv_cache_post_rope"] is True
    convert(source, tmp_path / "fp8", to="quark", mode="fp8")
    convert(tmp_path / "fp8", tmp_path / "back", to="quark")
    assert block_of(tmp_path / "back")["kv_cache_post_rope"] is True
    convert(REAL / "llama/quark-fp8-kv-custom", tmp_path / "pre", to="quark")
    assert block_of(tmp_path / "pre")["kv_cache_post_rope"] is False


def test_an_exact_name_wins_over_a_glob_before_it(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-layers")
    override = bent.block["layer_quant_config"].pop("*.mlp.*")
    exact = "model.layers.0.mlp.up_proj"
    bent.block["layer_quant_config"] = {"*.mlp.*": layer("llama/quark-fp8"), exact: override}
    for name in [name for name in bent.tensors if ".mlp." in name and exact not in name]:
        if name.endswith("_scale"):
            bent.tensors[name] = scalar(0.5)
            bent.tensors[name.replace("weight_scale", "input_scale")] = scalar(0.5)
    source = bent.write(tmp_path / "source")
    modules = ckptkit.open(source).modules
    assert [n for n, m in modules.items() if m.scheme.weight.granularity == PerChannel()] == [exact]
    convert(source, tmp_path / "out", to="quark")
    assert list(block_of(tmp_path / "out")["layer_quant_config"]) == [exact]


def test_the_first_of_two_globs_wins(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-layers")
    override = bent.block["layer_quant_config"]["*.mlp.*"]
    bent.block["layer_quant_config"] = {"*.mlp.*": override, "*_proj": layer("llama/quark-fp8")}
    source = bent.write(tmp_path / "source")
    assert ckptkit.diff(REAL / "llama/quark-fp8-layers", source).same


def test_a_spec_for_each_layer_keeps_kv_outputs_consistent(tmp_path: Path) -> None:
    """Entries of key projections must all carry the output, also where they exist for their weights' sake."""
    bent = load("llama/quark-fp8-kv")
    for ending in ("q_proj", "k_proj", "v_proj"):
        module = f"model.layers.1.self_attn.{ending}"
        rows = bent.tensors[f"{module}.weight"].shape[0]
        bent.tensors[f"{module}.weight_scale"] = RawTensor("BF16", (rows,), bf16(0.5) * rows)
        del bent.tensors[f"{module}.input_scale"]
        output = bent.block["layer_quant_config"].get(f"*{ending}", {}).get("output_tensors")
        override = {**layer("llama/quark-ptpc"), "output_tensors": output}
        bent.block["layer_quant_config"] = {module: override, **bent.block["layer_quant_config"]}
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="quark")
    written = block_of(tmp_path / "out")
    assert written["export"]["kv_cache_group"] == ["*k_proj", "*v_proj"]
    for key, spec in written["layer_quant_config"].items():
        assert (spec["output_tensors"] is not None) == (key.lstrip("*").split(".")[-1] in ("k_proj", "v_proj")), key
    assert written["kv_cache_quant_config"].keys() == {
        key for key in written["layer_quant_config"] if key.lstrip("*").split(".")[-1] in ("k_proj", "v_proj")
    }
    assert ckptkit.diff(source, tmp_path / "out").same


def e8m0(bent: MutableCheckpoint) -> dict[str, RawTensor]:
    """Round the F32 block scales down to powers of two and store those as E8M0; their F32 forms are returned."""
    exact = {}
    for name in [name for name in bent.tensors if name.endswith(".weight_scale")]:
        tensor = bent.tensors[name]
        values = struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data)
        powers = [math.frexp(value)[1] - 1 for value in values]
        bent.tensors[name] = RawTensor("F8_E8M0", tensor.shape, bytes(power + 127 for power in powers))
        widened = struct.pack(f"<{len(powers)}f", *(2.0**power for power in powers))
        exact[name] = RawTensor("F32", tensor.shape, widened)
    return exact


def test_e8m0_scales(tmp_path: Path) -> None:
    """compressed-tensors has no such scales: each is widened to the F32 of the same value."""
    bent = load("llama-block-aligned/quark-block")
    exact = e8m0(bent)
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "quark", to="quark")
    assert tensors_of(tmp_path / "quark") == tensors_of(source)
    assert block_of(tmp_path / "quark")["global_quant_config"]["weight"]["scale_type"] == "float8_e8m0fnu"
    plan = convert(source, tmp_path / "ct", to="ct").plan
    assert plan.cost.kind.value == "recompute"
    assert plan.cost.computed == sum(len(tensor.data) for tensor in exact.values())
    written = tensors_of(tmp_path / "ct")
    assert {name: written[name] for name in exact} == exact
    assert ckptkit.diff(source, tmp_path / "ct").same


def test_blocks_and_groups(tmp_path: Path) -> None:
    convert(REAL / "llama-block-ragged/llmcompressor-block", tmp_path / "out", to="quark")
    spec = block_of(tmp_path / "out")["global_quant_config"]
    assert (spec["weight"]["qscheme"], spec["weight"]["block_size"]) == ("per_block", [128, 128])
    assert (spec["input_tensors"]["qscheme"], spec["input_tensors"]["group_size"]) == ("per_group", 128)
    assert spec["weight"]["symmetric"] is spec["input_tensors"]["symmetric"] is True
    (scheme,) = ckptkit.open(tmp_path / "out").schemes
    assert scheme.weight.granularity == PerBlock(128, 128)
    assert scheme.input is not None and scheme.input.granularity == PerGroup(128)


def test_specs_have_every_key_that_quark_writes(tmp_path: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8-kv", tmp_path / "out", to="quark")
    ours, theirs = block_of(tmp_path / "out"), load("llama/quark-fp8-kv").block
    assert ours.keys() == theirs.keys()
    assert ours["export"].keys() == theirs["export"].keys()
    for role in ("weight", "input_tensors"):
        assert ours["global_quant_config"][role] == theirs["global_quant_config"][role]
    assert ours["layer_quant_config"] == theirs["layer_quant_config"]
    assert ours["kv_cache_quant_config"] == theirs["kv_cache_quant_config"]


def test_the_fp8_mode_has_what_quark_writes_and_what_others_read(tmp_path: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8-kv", tmp_path / "out", to="quark", mode="fp8")
    ours, theirs = block_of(tmp_path / "out"), load("llama/quark-fp8-kv-custom").block
    assert {key: ours[key] for key in theirs} == theirs
    assert ours.keys() - theirs.keys() == {*("modules_to_not_convert", "weight_block_size", "kv_cache_post_rope")}


def test_modules_to_not_convert_counts_when_nothing_else_is_ignored(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-custom")
    bent.block.update(ignored_layers=[], modules_to_not_convert=["lm_head"])
    assert ckptkit.open(bent.write(tmp_path / "source")).declared_only == ()


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_biases_and_norms_stay(architecture: str, tmp_path: Path) -> None:
    source = REAL / architecture / "llmcompressor-dynamic"
    convert(source, tmp_path / "out", to="quark")
    kept = {name for name in tensors_of(source) if name.endswith((".bias", "_norm.weight"))}
    assert kept
    assert {name for name in tensors_of(tmp_path / "out") if name.endswith((".bias", "_norm.weight"))} == kept


def test_fused_experts_are_excluded_by_owner_and_below(tmp_path: Path) -> None:
    convert(REAL / "qwen3_moe/quark-ptpc", tmp_path / "out", to="quark")
    excluded = block_of(tmp_path / "out")["exclude"]
    for owner in ("model.layers.0.mlp.experts", "model.layers.1.mlp.experts"):
        assert owner in excluded and f"{owner}.*" in excluded


def test_per_tensor_scales_of_either_rank(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8")
    bent.change(r".*\.weight_scale", reshaped(1))
    source = bent.write(tmp_path / "source")
    (scheme,) = ckptkit.open(source).schemes
    assert scheme.weight.granularity == PerTensor()
    convert(source, tmp_path / "out", to="quark")
    assert tensors_of(tmp_path / "out") == tensors_of(REAL / "llama/quark-fp8")


@pytest.mark.parametrize("spelling", ["self_attn.attn.{}_scale", "self_attn.{}_proj.{}_scale"])
def test_other_spellings_of_kv_scales(spelling: str, tmp_path: Path) -> None:
    """Loaders take these names too; what is written has the usual ones."""
    bent = load("llama/quark-fp8-kv-custom")
    for role in "kv":
        bent.rename(rf"(.*)self_attn\.{role}_scale", r"\1" + spelling.format(role, role))
    source = bent.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="quark", mode="fp8")
    assert tensors_of(tmp_path / "out") == tensors_of(REAL / "llama/quark-fp8-kv-custom")


def test_two_spellings_of_one_kv_scale_are_refused(tmp_path: Path) -> None:
    bent = load("llama/quark-fp8-kv")
    bent.tensors["model.layers.0.self_attn.k_scale"] = scalar(0.5)
    source = bent.write(tmp_path / "source")
    assert [tensor.name for tensor in ckptkit.open(source).orphans] == ["model.layers.0.self_attn.k_proj.output_scale"]
    with pytest.raises(ConversionRefused):
        ckptkit.plan(source, to="ct")
