"""Encodings, forms of scales, and scales of the KV cache: what changes, what is told, what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.errors import CkptkitError, ConversionRefused, UsageError
from ckptkit.model.granularity import PerBlock, PerChannel
from ckptkit.model.numbers import dequantized, numbers
from ckptkit.operations.operation import OperationError
from ckptkit.operations.scaling import encoded
from tests.damage import REAL, MutableCheckpoint, load, plain_fp8, tensors_of
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)


def weights(folder: Path) -> dict[str, np.ndarray]:
    """What every quantized module's weight is worth."""
    checkpoint, found = ckptkit.open(folder), tensors_of(folder)
    values = {}
    for name, module in checkpoint.modules.items():
        assert module.weight_scale is not None
        codes, scale = found[module.weight.name], found[module.weight_scale.name]
        shaped = numbers(codes.dtype, codes.data).reshape(codes.shape)
        values[name] = dequantized(shaped, numbers(scale.dtype, scale.data), module.scheme.weight.granularity)
    return values


# -- e4m3fnuz ----------------------------------------------------------------------------------------------------------


def fnuz(name: str) -> MutableCheckpoint:
    """An export as an engine on older ROCm holds it: the same codes at half their worth, and scales doubled."""
    draft = load(name)

    def weight(tensor: RawTensor) -> RawTensor:
        codes = np.frombuffer(tensor.data, np.uint8)
        codes = np.where((codes == 0x80) | ((codes & 0x7F) == 0x7F), 0, codes)
        return RawTensor("F8_E4M3FNUZ", tensor.shape, codes.astype(np.uint8).tobytes())

    def scale(tensor: RawTensor) -> RawTensor:
        return tensor._replace(data=encoded(2 * numbers(tensor.dtype, tensor.data), tensor.dtype))

    for key, tensor in draft.tensors.items():
        if tensor.dtype == "F8_E4M3":
            draft.tensors[key] = weight(tensor)
        elif key.endswith(("weight_scale", "input_scale")):
            draft.tensors[key] = scale(tensor)
    return draft


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("llama/quark-fp8", "ct"),
        ("llama/quark-ptpc", "quark"),
        ("llama/llmcompressor-fp8", "ct"),
        ("llama-block-aligned/llmcompressor-block", "fp8"),
    ],
)
def test_fnuz_weights_become_fn_with_half_the_scale(name: str, to: str, tmp_path: Path) -> None:
    source = fnuz(name).write(tmp_path / "source")
    assert "CK405" in {finding.code for finding in ckptkit.validate(source).errors}
    plan = convert(source, tmp_path / "out", to=to).plan
    assert plan.verdict is Verdict.LOSSLESS and "keep their codes as e4m3fn" in " ".join(plan.notes)
    before, after = weights(source), weights(tmp_path / "out")
    assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)
    assert not ckptkit.validate(tmp_path / "out").errors
    static = [module for module in ckptkit.open(source).modules.values() if module.input_scale is not None]
    for module in static:
        assert module.input_scale is not None
        own = ckptkit.open(tmp_path / "out").modules[module.name].input_scale
        assert own is not None
        stored = (tensors_of(source)[module.input_scale.name], tensors_of(tmp_path / "out")[own.name])
        assert numbers(stored[0].dtype, stored[0].data)[0] == 2 * numbers(stored[1].dtype, stored[1].data)[0]


def test_a_code_that_fn_does_not_have_stops_the_conversion_and_leaves_nothing(tmp_path: Path) -> None:
    draft = fnuz("llama/quark-ptpc")
    draft.change(r".*0\.mlp\.up_proj\.weight", lambda t: t._replace(data=t.data[:66] + b"\xff" + t.data[67:]))
    source = draft.write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"up_proj\.weight.*\[1, 2\] of a stripe is 240 or -240"):
        convert(source, tmp_path / "out", to="ct")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_encoding_without_a_loader_is_refused(tmp_path: Path) -> None:
    draft = load("llama/quark-ptpc")
    draft.change(r".*0\.mlp\.up_proj\.weight", lambda t: t._replace(dtype="F8_E5M2FNUZ"))
    with pytest.raises(ConversionRefused, match="no loader takes this encoding"):
        ckptkit.plan(draft.write(tmp_path / "source"), to="ct")


# -- scales ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "granularity", "wanted"),
    [("ct", "channel", PerChannel()), ("quark", "channel", PerChannel()), ("modelopt", "channel", PerChannel())],
)
def test_one_scale_is_written_for_every_channel(to: str, granularity: str, wanted: PerChannel, tmp_path: Path) -> None:
    source = REAL / "llama/llmcompressor-fp8"
    plan = convert(source, tmp_path / "out", to=to, granularity=granularity, allow_lossy=True).plan
    assert any(f"written {wanted}: no value changes" in note for note in plan.notes)
    before, after = weights(source), weights(tmp_path / "out")
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert {module.scheme.weight.granularity for module in ckptkit.open(tmp_path / "out").modules.values()} == {wanted}


def test_one_scale_is_written_for_every_block(tmp_path: Path) -> None:
    draft = load("llama-block-aligned/llmcompressor-block")
    weight = {**draft.group["weights"], "strategy": "tensor", "block_structure": None}
    inputs = {**draft.group["input_activations"], "strategy": "token", "group_size": None}
    draft.group.update(weights=weight, input_activations=inputs)
    draft.change(r".*weight_scale", lambda t: RawTensor(t.dtype, (1,), t.data[: len(t.data) // int(np.prod(t.shape))]))
    source = draft.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="ct", granularity="block")
    before, after = weights(source), weights(tmp_path / "out")
    assert all(np.array_equal(before[key], after[key]) for key in before)
    (scheme,) = ckptkit.open(tmp_path / "out").schemes
    assert scheme.weight.granularity == PerBlock(128, 128)


def test_several_scales_are_not_made_others() -> None:
    with pytest.raises(ConversionRefused, match="have several scales: others would round weights"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", granularity="block")


def powers(dtype: str) -> MutableCheckpoint:
    """DeepSeek's blocks with powers of two as scales."""
    draft = load("llama-block-aligned/llmcompressor-block")
    plain_fp8(draft)

    def change(tensor: RawTensor) -> RawTensor:
        values = 2.0 ** np.random.default_rng(1).integers(-9, -4, tensor.shape)
        return RawTensor(dtype, tensor.shape, encoded(values, dtype))

    draft.change(r".*_scale_inv", change)
    return draft


@pytest.mark.parametrize(
    ("stored", "wanted", "spelt"),
    [("F32", "F8_E8M0", "E8M0"), ("F8_E8M0", "F32", "f32"), ("BF16", "F32", "F32"), ("F32", "BF16", "bf16")],
)
def test_scales_change_their_type_exactly(stored: str, wanted: str, spelt: str, tmp_path: Path) -> None:
    source = powers(stored).write(tmp_path / "source")
    plan = convert(source, tmp_path / "out", to="fp8", scale_dtype=spelt).plan
    assert plan.verdict is Verdict.LOSSLESS and Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    made = [tensor for name, tensor in tensors_of(tmp_path / "out").items() if name.endswith("_scale_inv")]
    assert made and {tensor.dtype for tensor in made} == {wanted}
    before, after = weights(source), weights(tmp_path / "out")
    assert all(np.array_equal(before[key], after[key]) for key in before)
    config = ckptkit.open(tmp_path / "out").config["quantization_config"]
    assert (config.get("scale_fmt") == "ue8m0") == (wanted == "F8_E8M0")


def test_scales_that_a_type_does_not_hold_are_refused_by_name(tmp_path: Path) -> None:
    draft = powers("F32")
    name = "model.layers.0.mlp.up_proj.weight_scale_inv"
    old = draft.get(name)
    draft.put(name, "F32", old.shape, np.float32(0.3).tobytes() + old.data[4:])
    source = draft.write(tmp_path / "source")
    with pytest.raises(ConversionRefused, match=r"the scale 0 is 0\.3: no power of two") as error:
        ckptkit.plan(source, to="fp8", scale_dtype="E8M0")
    assert [fault.tensor for fault in error.value.faults] == [name]
    with pytest.raises(ConversionRefused, match="compressed-tensors has no weight scales in F8_E8M0"):
        ckptkit.plan(source, to="ct", scale_dtype="E8M0")
    with pytest.raises(UsageError, match="no choice for scale_dtype"):
        ckptkit.plan(source, to="fp8", scale_dtype="F64")
    with pytest.raises(OperationError):
        encoded(np.array([np.nan]), "F32")


# -- the KV cache ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["ct", "quark"])
def test_kv_scales_are_dropped_only_with_leave(to: str, tmp_path: Path) -> None:
    source = REAL / "llama/quark-ptpc-kv"
    with pytest.raises(ConversionRefused, match="4 scales of the KV cache and of attention go") as error:
        ckptkit.plan(source, to=to, drop_kv_scales=True)
    assert "allow_lossy" in str(error.value.faults[0].help)
    plan = convert(source, tmp_path / "out", to=to, drop_kv_scales=True, allow_lossy=True).plan
    assert plan.verdict is Verdict.LOSSY and any("KV cache" in words for words in plan.gives_up)
    result = ckptkit.open(tmp_path / "out")
    assert result.kv_cache is None and not ckptkit.validate(tmp_path / "out").errors
    compared = ckptkit.diff(source, tmp_path / "out", plan=plan)
    assert compared.same and sum("scale" in d.aspect for d in compared.declared) >= 4
    assert not ckptkit.diff(source, tmp_path / "out").same
    assert (
        tensors_of(tmp_path / "out").keys()
        == tensors_of(convert(REAL / "llama/quark-ptpc", tmp_path / "plain", to=to).destination).keys()
    )
    with pytest.raises(UsageError, match="has no scales of a KV cache to drop"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to=to, drop_kv_scales=True)


@pytest.mark.parametrize("to", ["ct", "quark", "modelopt"])
def test_kv_scales_come_from_another_checkpoint(to: str, tmp_path: Path) -> None:
    donor = REAL / "llama/quark-ptpc-kv"
    plan = convert(REAL / "llama/quark-ptpc", tmp_path / "out", to=to, scales_from=donor).plan
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    assert any("4 scales of the KV cache come from" in note for note in plan.notes)
    assert ckptkit.diff(REAL / "llama/quark-ptpc", tmp_path / "out", plan=plan).same
    assert tensors_of(tmp_path / "out") == tensors_of(convert(donor, tmp_path / "same", to=to).destination)
    assert not ckptkit.validate(tmp_path / "out").errors


def test_own_kv_scales_stay_and_others_must_fit(tmp_path: Path) -> None:
    donor = REAL / "llama/quark-ptpc-kv"
    with pytest.raises(UsageError, match="has scales of the KV cache of its own"):
        ckptkit.plan(donor, to="ct", scales_from=donor)
    with pytest.raises(UsageError, match="has no scales of a KV cache for"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", scales_from=REAL / "llama/quark-fp8")
    half = load("llama/quark-ptpc-kv")
    half.drop(r"model\.layers\.1\.self_attn\.[kv]_proj\.output_scale")
    with pytest.raises(ConversionRefused, match="has no scales for 1 attention module"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", scales_from=half.write(tmp_path / "half"))


def test_a_declared_cache_without_scales_gets_them(tmp_path: Path) -> None:
    draft = load("llama/quark-ptpc-kv")
    draft.drop(r".*output_scale")
    source = draft.write(tmp_path / "source")
    found = tensors_of(convert(source, tmp_path / "out", to="ct", scales_from=REAL / "llama/quark-ptpc-kv").destination)
    assert found == tensors_of(convert(REAL / "llama/quark-ptpc-kv", tmp_path / "same", to="ct").destination)
