"""Traps of scales, experts, dtypes and files, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import ContainerError
from ckptkit.model.granularity import PerBlock
from tests.damage import REAL, MutableCheckpoint, bf16, load, read_shard, scalar, tensors_of
from tests.raw import RawTensor
from tests.traps.common import block_of, codes, convert, notes, refusal


def test_trap_01_weight_scale_inv_multiplies(tmp_path: Path, out: Path) -> None:
    bent = load("llama-block-aligned/quark-block")
    bent.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    source = bent.write(tmp_path / "source")
    convert(source, out, to="ct")
    assert ckptkit.diff(REAL / "llama-block-aligned/quark-block", out).same


def test_trap_02_a_missing_scale_is_noticed(tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.drop(r".*layers\.0\.mlp\.down_proj\.weight_scale")
    source = bent.write(tmp_path / "source")
    assert "CK201" in codes(source)
    assert "CK201" in refusal(source, "quark")


@pytest.mark.parametrize("last", ["v_proj", "up_proj"])
def test_trap_03_the_last_scale_of_a_fused_group_missing_is_noticed(last: str, tmp_path: Path) -> None:
    bent = load("llama/llmcompressor-fp8")
    bent.drop(rf".*layers\.1\.{'self_attn' if last == 'v_proj' else 'mlp'}\.{last}\.weight_scale")
    source = bent.write(tmp_path / "source")
    (finding,) = [f for f in ckptkit.validate(source).findings if f.code == "CK201"]
    assert finding.tensor is not None and finding.tensor.endswith(f"{last}.weight")
    assert "CK201" in refusal(source, "quark", "fp8")


@pytest.mark.parametrize(("fixture", "to"), [("llama/quark-ptpc", "ct"), ("llama/llmcompressor-dynamic", "ct")])
def test_trap_41_an_input_scale_under_dynamic_inputs_is_dropped(
    fixture: str, to: str, tmp_path: Path, out: Path
) -> None:
    bent = load(fixture)
    bent.tensors["model.layers.0.mlp.up_proj.input_scale"] = scalar(0.5)
    source = bent.write(tmp_path / "source")
    assert "CK622" in codes(source)
    plan = convert(source, out, to=to).plan
    (drop,) = [step for step in plan.steps if step.target is None]
    assert "activations are dynamic" in drop.reason
    assert "model.layers.0.mlp.up_proj.input_scale" not in tensors_of(out)


def test_trap_42_a_scale_of_nobody_is_noticed_in_qwen3_moe_too(tmp_path: Path) -> None:
    bent = load("qwen3_moe/llmcompressor-dynamic")
    bent.tensors["model.layers.0.mlp.gate.weight_scale"] = scalar(0.5)
    source = bent.write(tmp_path / "source")
    assert "CK202" in codes(source)
    assert "CK202" in refusal(source, "quark")


def static_experts() -> MutableCheckpoint:
    """qwen3_moe with experts per tensor and static, each projection with an input scale of its own."""
    bent = load("qwen3_moe/llmcompressor-dynamic")
    group = load("llama/llmcompressor-fp8").block["config_groups"]["group_0"]
    bent.block["config_groups"]["group_0"] = group
    for number, name in enumerate([name for name in bent.tensors if name.endswith(".weight_scale")]):
        bent.tensors[name] = scalar(0.5, (1,))
        bent.tensors[name.replace("weight_scale", "input_scale")] = scalar(0.5 + number / 128, (1,))
    return bent


def test_trap_43_input_scales_of_gate_and_up_stay_apart(tmp_path: Path, out: Path) -> None:
    bent = static_experts()
    source = bent.write(tmp_path / "source")
    convert(source, out, to="quark")
    names = [f"model.layers.0.mlp.experts.0.{part}_proj.input_scale" for part in ("gate", "up")]
    assert len({tensors_of(out)[name].data for name in names}) == 2
    assert ckptkit.diff(source, out).same


def test_trap_44_each_expert_keeps_the_scheme_of_its_own(tmp_path: Path, out: Path) -> None:
    bent = static_experts()
    dynamic = load("llama/llmcompressor-dynamic").block["config_groups"]["group_0"]
    odd = "model.layers.0.mlp.experts.1.up_proj"
    del bent.tensors[f"{odd}.input_scale"]
    bent.tensors[f"{odd}.weight_scale"] = RawTensor("BF16", (32, 1), bf16(0.5) * 32)
    bent.block["config_groups"]["group_1"] = {**dynamic, "targets": [odd]}
    source = bent.write(tmp_path / "source")
    for to in ("ct", "quark"):
        folder = out / to
        folder.parent.mkdir(exist_ok=True)
        convert(source, folder, to=to)
        modules = ckptkit.open(folder).modules
        assert [name for name, module in modules.items() if not module.scheme.has_static_input] == [odd]


@pytest.mark.parametrize("fixture", ["qwen3_moe/quark-ptpc", "mixtral/quark-ptpc-experts", "mixtral/quark-ptpc"])
@pytest.mark.parametrize("to", ["ct", "quark"])
def test_trap_45_routers_are_skipped_by_name(fixture: str, to: str, out: Path) -> None:
    convert(REAL / fixture, out, to=to)
    skipped = block_of(out)["exclude" if to == "quark" else "ignore"]
    assert {"model.layers.0.mlp.gate", "model.layers.1.mlp.gate"} <= set(skipped)
    assert "CK605" not in codes(out)


def test_trap_46_scales_of_fused_layers_are_not_merged(out: Path) -> None:
    convert(REAL / "llama/llmcompressor-fp8", out, to="quark")
    before, after = tensors_of(REAL / "llama/llmcompressor-fp8"), tensors_of(out)
    for part in "qkv":
        name = f"model.layers.0.self_attn.{part}_proj.weight_scale"
        assert after[name].data == before[name].data


def test_trap_47_a_ragged_block_stays_what_was_declared(out: Path) -> None:
    source = REAL / "llama-block-ragged/llmcompressor-block"
    convert(source, out, to="quark")
    module = ckptkit.open(out).modules["model.layers.0.self_attn.k_proj"]
    assert module.scheme.weight.granularity == PerBlock(128, 128)
    assert module.weight.shape[0] == 64
    assert module.weight_scale is not None and module.weight_scale.shape == (1, 2)


def test_trap_48_high_precision_under_a_declared_scheme_is_noticed(tmp_path: Path, out: Path) -> None:
    bent = load("llama/llmcompressor-dynamic")
    bent.block["ignore"] = []
    source = bent.write(tmp_path / "source")
    assert ckptkit.open(source).declared_only == ("lm_head",)
    assert "CK605" in codes(source)
    assert "not exclude them: lm_head" in notes(convert(source, out, to="ct").plan)
    assert block_of(out)["ignore"] == ["lm_head"]


@pytest.mark.parametrize("number", [49, 55])
def test_trap_49_and_55_fnuz_is_never_cast(number: int, tmp_path: Path) -> None:
    """-0 of e4m3fn is the NaN of e4m3fnuz (49), and +-240 of e4m3fnuz is the NaN of e4m3fn (55)."""
    bent = load("llama/quark-ptpc")
    code = b"\x80" if number == 49 else b"\x7f"

    def relabel(tensor: RawTensor) -> RawTensor:
        return RawTensor("F8_E4M3FNUZ", tensor.shape, code + tensor.data[1:]) if tensor.dtype == "F8_E4M3" else tensor

    bent.change(r".*\.weight", relabel)
    source = bent.write(tmp_path / "source")
    assert "CK405" in codes(source)
    with pytest.raises(ContainerError, match="NaN in E4M3"):
        convert(source, tmp_path / "out", to="ct")
    assert not (tmp_path / "out").exists()


def test_trap_56_index_and_metadata_follow_the_names(out: Path) -> None:
    source = REAL / "llama/quark-ptpc-sharded"
    bent = load("llama/quark-ptpc-sharded")
    convert(source, out, to="ct")
    index = json.loads((out / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = {path.name: read_shard(path) for path in out.glob("*.safetensors")}
    assert shards.keys() == bent.shards.keys()
    assert index["weight_map"] == {name: shard for shard, tensors in shards.items() for name in tensors}
    sizes = [len(tensor.data) for tensors in shards.values() for tensor in tensors.values()]
    assert index["metadata"]["total_size"] == sum(sizes)
    convert(REAL / "llama/quark-ptpc-file2file", out.parent / "file2file", to="ct")
    raw = (out.parent / "file2file" / "model.safetensors").read_bytes()
    assert b'"format":"pt"' in raw[: 8 + int.from_bytes(raw[:8], "little")]
