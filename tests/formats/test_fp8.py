"""Plain ``fp8``: three dialects told apart, read, and written, and what stands beside FP8 in them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import CostKind, Plan, Verdict
from ckptkit.errors import ConversionRefused, FormatError
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from tests.damage import (
    BLOCK,
    CT,
    REAL,
    Damage,
    MutableCheckpoint,
    f32,
    plain_fp8,
    read_shard,
    set_block,
    steps,
    tensors_of,
)
from tests.formats.fp8_files import BLOCKS, bent, block_of, codes, convert, count, written
from tests.raw import RawTensor, shard_bytes

STATIC = "llama/llmcompressor-fp8"
STATIC_KV = "llama/llmcompressor-fp8-kv"
#: What AutoFP8 writes.
AUTOFP8 = {
    "quant_method": "fp8",
    "activation_scheme": "static",
    "ignored_layers": ["lm_head"],
    "kv_cache_scheme": "static",
}


def without(*keys: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        for key in keys:
            del checkpoint.block[key]

    return change


@pytest.fixture
def tensor(tmp_path: Path) -> Path:
    """A per-tensor export as vLLM names its scales."""
    convert(REAL / STATIC, tmp_path / "tensor", to="fp8", mode="tensor")
    return tmp_path / "tensor"


# -- which dialect ----------------------------------------------------------------------------------------------------


def test_blocks(tmp_path: Path) -> None:
    found = ckptkit.open(written(BLOCK, plain_fp8, tmp_path / "source"))
    assert (found.format, found.dialect, list(found.schemes)) == ("fp8", "block", [BLOCKS])
    assert set(found.unquantized) == {"lm_head"} and not found.declared_only
    assert codes(tmp_path / "source") == set()


def test_what_no_list_names_is_not_called_ignored(tmp_path: Path) -> None:
    """As in DeepSeek's own files, which have no skip list at all."""
    source = written(BLOCK, steps(plain_fp8, without("ignored_layers")), tmp_path / "source")
    words = ckptkit.inspect(source).quantization
    assert words.endswith("nothing ignored, in high precision, on no list: lm_head")
    assert ckptkit.inspect(written(BLOCK, plain_fp8, tmp_path / "listed")).quantization.endswith("ignored: lm_head")


def test_a_missing_block_size_is_decided_by_the_grids_and_said(tmp_path: Path) -> None:
    source = written(BLOCK, steps(plain_fp8, without("weight_block_size")), tmp_path / "source")
    assert list(ckptkit.open(source).schemes) == [BLOCKS]
    (finding,) = [f for f in ckptkit.validate(source).findings if f.severity.value == "error"]
    assert finding.code == "CK624" and "down_proj.weight_scale_inv [1, 2]" in (finding.found or "")
    ckptkit.fix(source)
    assert block_of(source)["weight_block_size"] == [128, 128] and codes(source) == set()


@pytest.mark.parametrize("size", [..., None])
def test_per_tensor_with_and_without_the_key(size: Any, tensor: Path, tmp_path: Path) -> None:
    source = bent(tensor, tmp_path / "bent", weight_block_size=size)
    found = ckptkit.open(source)
    assert (found.dialect, codes(source)) == ("per tensor", set())
    said = [f for f in ckptkit.validate(source).findings if f.code == "CK624"]
    assert [f.severity.value for f in said] == (["info"] if size is ... else [])
    assert all("some readers take blocks of 128x128" in f.message for f in said)
    assert list(found.schemes) == [Scheme(Quantization(PerTensor()), Quantization(PerTensor()))]


def test_transformers_names(tmp_path: Path) -> None:
    convert(REAL / STATIC, tmp_path / "out", to="fp8", mode="transformers")
    found = ckptkit.open(tmp_path / "out")
    assert (found.dialect, codes(tmp_path / "out")) == ("per tensor, transformers' names", set())
    module = next(iter(found.modules.values()))
    assert module.weight_scale is not None and module.weight_scale.name.endswith(".weight_scale_inv")
    assert module.input_scale is not None and module.input_scale.name.endswith(".activation_scale")
    assert module.scheme.has_static_input


def test_one_value_for_a_block_is_a_block_where_the_config_says_so(tmp_path: Path) -> None:
    """[1, 1] is a grid, and a scalar without a block size is none."""
    source = written(BLOCK, plain_fp8, tmp_path / "source")
    module = ckptkit.open(source).modules["model.layers.0.self_attn.k_proj"]
    assert module.weight_scale is not None and module.weight_scale.shape == (1, 1)


@pytest.mark.parametrize("size", [[], [128], [128, 0], "128", [128, 128, 1], {"rows": 128}, True])
def test_a_block_size_that_is_none(size: Any, tmp_path: Path) -> None:
    source = written(BLOCK, steps(plain_fp8, set_block(weight_block_size=size)), tmp_path / "source")
    with pytest.raises(FormatError):
        ckptkit.open(source)
    assert "CK624" in codes(source)


@pytest.mark.parametrize("scheme", [None, "weights", True, 1])
def test_an_activation_scheme_that_is_none(scheme: Any, tensor: Path, tmp_path: Path) -> None:
    source = bent(tensor, tmp_path / "bent", activation_scheme=scheme)
    with pytest.raises(FormatError, match="activation_scheme"):
        ckptkit.open(source)


def test_an_export_block_makes_it_quarks(tensor: Path, tmp_path: Path) -> None:
    source = bent(tensor, tmp_path / "bent", export={"kv_cache_group": [], "weight_format": "real_quantized"})
    assert ckptkit.open(source).format == "quark"


# -- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E8M0"])
def test_scales_of_any_type_that_loaders_take(dtype: str, tmp_path: Path) -> None:
    data = {"F32": f32(2.0**-9), "BF16": b"\x00\x3b", "F8_E8M0": bytes([118])}[dtype]

    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        checkpoint.block["scale_fmt"] = "ue8m0"
        checkpoint.change(r".*_scale_inv", lambda t: RawTensor(dtype, t.shape, data * (t.shape[0] * t.shape[1])))

    source = written(BLOCK, change, tmp_path / "source")
    assert codes(source) == set()
    plan = convert(source, tmp_path / "ct", to="ct").plan
    assert plan.cost.kind is (CostKind.RECOMPUTE if dtype == "F8_E8M0" else CostKind.HEADER_ONLY)
    module = ckptkit.open(tmp_path / "ct").modules["model.layers.0.self_attn.q_proj"]
    assert module.weight_scale is not None
    stored = tensors_of(tmp_path / "ct")[module.weight_scale.name]
    expected = {"BF16": b"\x00\x3b"}.get(dtype, f32(2.0**-9))
    assert stored.data[: len(expected)] == expected


def test_any_block_size(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        checkpoint.block["weight_block_size"] = [32, 64]
        checkpoint.change(
            r".*_scale_inv", lambda t: RawTensor("BF16", (t.shape[0] * 4, t.shape[1] * 2), t.data[:2] * count(t) * 8)
        )

    source = written(BLOCK, change, tmp_path / "source")
    assert list(ckptkit.open(source).schemes) == [
        Scheme(Quantization(PerBlock(32, 64)), Quantization(PerGroup(64), dynamic=True))
    ]
    convert(source, tmp_path / "ct", to="ct")
    convert(tmp_path / "ct", tmp_path / "back", to="fp8")
    assert tensors_of(tmp_path / "back") == tensors_of(source)


def test_kv_scales(tmp_path: Path) -> None:
    convert(REAL / STATIC_KV, tmp_path / "kv", to="fp8", mode="tensor")
    found = ckptkit.open(tmp_path / "kv")
    assert found.kv_cache is not None and found.kv_cache.scheme is not None
    assert all(attention.k and attention.v for attention in found.kv_cache.attention)
    plan = convert(tmp_path / "kv", tmp_path / "ct", to="ct").plan
    assert plan.cost.kind is CostKind.HEADER_ONLY
    assert tensors_of(tmp_path / "ct") == tensors_of(REAL / STATIC_KV)


def test_autofp8(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.rename(r"(.*)\.input_scale", r"\1.act_scale")
        checkpoint.rename(r"(.*self_attn)\.([kv])_scale", r"\1.\2_proj.output_scale")
        checkpoint.config["quantization_config"] = AUTOFP8

    source = written(STATIC_KV, change, tmp_path / "source")
    found = ckptkit.open(source)
    assert found.dialect == "per tensor" and not found.foreign and not found.orphans
    assert all(module.input_scale is not None for module in found.modules.values())
    convert(source, tmp_path / "ct", to="ct")
    assert tensors_of(tmp_path / "ct") == tensors_of(REAL / STATIC_KV)


def test_one_scale_for_keys_and_values(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.drop(r".*\.v_scale")
        checkpoint.rename(r"(.*)\.k_scale", r"\1.kv_scale")
        checkpoint.config["quantization_config"] = AUTOFP8

    source = written(STATIC_KV, change, tmp_path / "source")
    found = ckptkit.open(source)
    assert found.kv_cache is not None
    assert all(attention.k == attention.v is not None for attention in found.kv_cache.attention)


def test_no_list_and_an_empty_list(tmp_path: Path) -> None:
    """vLLM leaves the head alone whatever is listed; transformers does for a list that is missing, not for an empty."""
    missing = written(BLOCK, steps(plain_fp8, without("ignored_layers")), tmp_path / "missing")
    empty = written(BLOCK, steps(plain_fp8, set_block(ignored_layers=[])), tmp_path / "empty")
    for folder, engines in ((missing, set()), (empty, {"transformers"})):
        found = [f for f in ckptkit.validate(folder).findings if f.code == "CK605"]
        assert [finding.tensor for finding in found] == ["lm_head.weight"]
        assert {engine.engine for engine in found[0].engines} == engines
        assert found[0].severity.value == ("warning" if engines else "info")
        assert ckptkit.plan(folder, to="ct").verdict is Verdict.LOSSLESS


# -- what is written --------------------------------------------------------------------------------------------------


def test_deepseek_there_and_back(tmp_path: Path) -> None:
    source = written(BLOCK, plain_fp8, tmp_path / "source")
    there = convert(source, tmp_path / "ct", to="ct").plan
    back = convert(tmp_path / "ct", tmp_path / "back", to="fp8").plan
    assert {there.cost.kind, back.cost.kind} == {CostKind.HEADER_ONLY}
    assert {there.verdict, back.verdict} == {Verdict.LOSSLESS}
    assert tensors_of(tmp_path / "back") == tensors_of(source)
    assert block_of(tmp_path / "back") == {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "ignored_layers": ["lm_head"],
        "modules_to_not_convert": ["lm_head"],
    }
    assert tensors_of(tmp_path / "ct") == tensors_of(REAL / BLOCK)


def test_the_dialect_is_chosen_by_what_is_there(tmp_path: Path) -> None:
    assert ckptkit.plan(REAL / BLOCK, to="fp8").target_format == "fp8"
    assert ckptkit.plan(REAL / STATIC, to="fp8").target_format == "fp8 (tensor mode)"
    with pytest.raises(ConversionRefused, match="cannot express the scheme"):
        ckptkit.plan(REAL / CT, to="fp8")


def test_a_block_size_is_written_even_where_there_is_none(tensor: Path) -> None:
    """transformers takes 128x128 for granted."""
    block = block_of(tensor)
    assert block["weight_block_size"] is None and block["ignored_layers"] == block["modules_to_not_convert"]


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F32"])
def test_powers_of_two_are_declared(dtype: str, tmp_path: Path) -> None:
    """As DeepSeek-V3.1 has them: exponents, or float32 of which transformers makes exponents where a key says so."""
    data = {"F8_E8M0": bytes([118]), "F32": f32(2.0**-9)}[dtype]

    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        checkpoint.block["scale_fmt"] = "ue8m0"
        checkpoint.change(r".*_scale_inv", lambda t: RawTensor(dtype, t.shape, data * count(t)))

    source = written(BLOCK, change, tmp_path / "source")
    plan = convert(source, tmp_path / "again", to="fp8").plan
    assert block_of(tmp_path / "again")["scale_fmt"] == "ue8m0"
    assert "scale_fmt" not in " ".join(plan.notes)
    assert "scale_fmt: ue8m0" in " ".join(ckptkit.plan(source, to="ct").notes)


def test_scales_that_are_made_anew_are_no_powers_of_two(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        checkpoint.block["scale_fmt"] = "ue8m0"
        checkpoint.change(r".*_scale_inv", lambda t: RawTensor("F32", t.shape, f32(2.0**-9) * count(t)))

    source = written(BLOCK, change, tmp_path / "source")
    convert(source, tmp_path / "tensor", to="fp8", mode="tensor", allow_lossy=True)
    assert "scale_fmt" not in block_of(tmp_path / "tensor")


def test_one_scale_becomes_blocks_or_channels(tmp_path: Path) -> None:
    """Every value stays, the static scales of inputs go only where that is allowed, and the plan says so."""
    source = written(BLOCK, _one_scale_each, tmp_path / "source")
    for to, mode, kind in (("fp8", "block", PerBlock), ("fbgemm", None, None)):
        with pytest.raises(ConversionRefused) as refused:
            ckptkit.plan(source, to=to, mode=mode)
        assert {fault.kind for fault in refused.value.faults} == {"input-scales"}
        assert all("--allow-lossy" in (fault.help or "") for fault in refused.value.faults)
        plan = ckptkit.plan(source, to=to, mode=mode, allow_lossy=True)
        assert plan.verdict is Verdict.LOSSY and plan.gives_up and plan.cost.kind is CostKind.RECOMPUTE
        assert len(plan.changes) == 7 and Plan.from_json(plan.to_json()).gives_up == plan.gives_up
        out = tmp_path / f"{to}"
        convert(source, out, to=to, mode=mode, allow_lossy=True)
        assert ckptkit.diff(source, out, plan=plan).same
        if kind is not None:
            assert isinstance(next(iter(ckptkit.open(out).schemes)).weight.granularity, kind)


def _one_scale_each(checkpoint: MutableCheckpoint) -> None:
    """The block fixture with one scale for each weight and static inputs."""
    value = struct.pack("<f", 0.00390625)
    checkpoint.change(r".*\.weight_scale", lambda t: RawTensor("F32", (1,), value))
    for name in checkpoint.names(r".*\.weight_scale"):
        checkpoint.put(name.replace("weight_scale", "input_scale"), "F32", (1,), value)
    args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    checkpoint.group["weights"] = checkpoint.group["input_activations"] = args


def test_dynamic_inputs_stay_dynamic(tmp_path: Path) -> None:
    def change(checkpoint: MutableCheckpoint) -> None:
        _one_scale_each(checkpoint)
        checkpoint.drop(r".*\.input_scale")
        token = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True}
        checkpoint.group["input_activations"] = token

    source = written(BLOCK, change, tmp_path / "source")
    plan = convert(source, tmp_path / "fp8", to="fp8").plan
    assert plan.target_format == "fp8 (tensor mode)" and plan.verdict is Verdict.LOSSLESS and not plan.changes
    assert list(ckptkit.open(tmp_path / "fp8").schemes) == [
        Scheme(Quantization(PerTensor()), Quantization(PerToken(), dynamic=True))
    ]
    blocks = ckptkit.plan(source, to="fp8", mode="block")
    assert blocks.verdict is Verdict.LOSSLESS and len(blocks.changes) == 7
    assert any("per-token to dynamic per-group" in note for note in blocks.notes)


@pytest.mark.parametrize(("mode", "found"), [("transformers", set[str]()), ("tensor", {"CK302"})])
def test_transformers_writes_scales_with_two_axes(mode: str, found: set[str], tmp_path: Path) -> None:
    """Its own export of whole tensors has ``weight_scale_inv`` [1, 1]; vLLM takes no such scale under its names."""
    convert(REAL / STATIC, tmp_path / "source", to="fp8", mode=mode)
    folder = tmp_path / "source"
    name = "weight_scale_inv" if mode == "transformers" else "weight_scale"
    path = folder / "model.safetensors"
    tensors = {
        key: tensor._replace(shape=(1, 1)) if key.endswith(name) else tensor for key, tensor in read_shard(path).items()
    }
    path.write_bytes(shard_bytes(tensors, {"format": "pt"}))
    assert codes(folder) == found
    if mode == "transformers":
        plan = convert(folder, tmp_path / "ct", to="ct").plan
        assert plan.verdict is Verdict.LOSSLESS and codes(tmp_path / "ct") == set()


# -- what is beside FP8 ------------------------------------------------------------------------------------------------


def _packed_expert(checkpoint: MutableCheckpoint, scale: str) -> None:
    for part in ("w1", "w2", "w3"):
        name = f"layers.0.ffn.experts.0.{part}"
        checkpoint.put(f"{name}.weight", "I8", (128, 64), bytes(128 * 64))
        checkpoint.put(f"{name}.{scale}", "F8_E8M0", (128, 4), bytes([120]) * 512)


@pytest.mark.parametrize("scale", ["scale", "weight_scale"])
def test_experts_in_mxfp4_are_named_and_the_rest_is_judged(scale: str, tmp_path: Path) -> None:
    """DeepSeek-V4: FP8 layers in blocks, experts of four bits, and every scale called ``scale``."""

    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        checkpoint.block["scale_fmt"] = "ue8m0"
        checkpoint.change(r".*_scale_inv", lambda t: RawTensor("F8_E8M0", t.shape, bytes([118]) * count(t)))
        if scale == "scale":
            checkpoint.rename(r"(.*)\.weight_scale_inv", r"\1.scale")
        checkpoint.config.update(architectures=["DeepseekV4ForCausalLM"], expert_dtype="fp4")
        _packed_expert(checkpoint, scale)

    source = written(BLOCK, change, tmp_path / "source")
    found = ckptkit.open(source)
    assert {str(other): len(members) for other, members in found.other_schemes.items()} == {
        "MXFP4, 4-bit weights scaled per-group 32 F8_E8M0": 3
    }
    assert list(found.schemes) == [BLOCKS] and len(found.modules) == 7
    assert not (found.foreign or found.orphans or found.stored_only)
    assert all(module.weight_scale is not None for module in found.modules.values())
    assert "MXFP4" in ckptkit.inspect(source).scheme
    plan = ckptkit.plan(source, to="ct")
    assert "3 MXFP4 modules become FP8 in blocks of 128x128: all 3 blocks keep every value" in " ".join(plan.notes)
