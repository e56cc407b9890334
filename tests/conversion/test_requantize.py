"""Lossy conversions: refused with what they cost, done where they are allowed, and measured in what was written."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.checks import schema
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.conversion.prepare import requantize
from ckptkit.errors import CkptkitError, ConversionRefused
from ckptkit.formats.registry import by_name
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock, PerChannel, PerTensor
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import REAL, load, tensors_of
from tests.formats.told import told

convert = partial(ckptkit.convert, fsync=False)

#: Source, target, mode, scheme; and the granularity that comes out.
CASES = (
    ("llama-block-aligned/llmcompressor-block", "quark", None, "ptpc_fp8", PerChannel),
    ("llama-block-aligned/llmcompressor-block", "fp8", "tensor", None, PerTensor),
    ("llama-block-wide/modelopt-block", "modelopt", None, "FP8_PER_CHANNEL_PER_TOKEN", PerChannel),
    ("llama-block-ragged/quark-block", "ct", None, "FP8_DYNAMIC", PerChannel),
    ("llama/quark-ptpc", "fp8", "tensor", None, PerTensor),
    ("llama-block-aligned/quark-block", "ct", None, "fp8_dynamic", PerChannel),
    ("llama/quark-fp8", "modelopt", None, "FP8_PER_CHANNEL_PER_TOKEN", PerChannel),
    ("qwen3_moe/llmcompressor-dynamic", "fp8", "tensor", None, PerTensor),
    ("llama-tied/quark-ptpc", "fp8", "tensor", "fp8_per_tensor", PerTensor),
)


def weights(checkpoint: Checkpoint, module: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    found = checkpoint.modules[module]
    assert found.weight_scale is not None
    codes, scale = (checkpoint.container.read(tensor) for tensor in (found.weight, found.weight_scale))
    values = numbers("F8_E4M3", codes).reshape(found.weight.shape)
    made = dequantized(values, numbers(found.weight_scale.dtype, scale), found.scheme.weight.granularity)
    return np.asarray(made, np.float64)


@pytest.mark.parametrize("count", [1, 2])
def test_what_has_to_be_allowed_is_told(count: int) -> None:
    checkpoint = ckptkit.open(REAL / "llama/quark-fp8-kv")
    members = dict(list(checkpoint.modules.items())[:count])
    usual = next(preset for preset in by_name("ct").presets if preset.name == "FP8_DYNAMIC")
    first, s = next(iter(members)), "s" if count > 1 else ""
    assert told(requantize._rounded(members, usual)) == [
        f"requantize: {first}: FP8_DYNAMIC rounds the values of {count} module{s} once more, "
        "by about 2.6 % of a weight's norm",
        "  expected static per-channel",
        "  found static per-tensor",
        "  help allow it with allow_lossy (--allow-lossy)",
        f"input-scales: {first}: {count} static input scale{s} would go: FP8_DYNAMIC computes them at run time",
        "  expected dynamic per-token",
        "  found static per-tensor",
        "  help allow it with allow_lossy (--allow-lossy)",
    ]


@pytest.mark.parametrize(("name", "to", "mode", "scheme", "kind"), CASES)
def test_weights_get_other_scales_where_the_user_allows_it(
    name: str, to: str, mode: str | None, scheme: str | None, kind: type, tmp_path: Path
) -> None:
    target = partial(convert, REAL / name, to=to, mode=mode, scheme=scheme)
    with pytest.raises(ConversionRefused) as refusal:
        target(tmp_path / "out")
    assert any(f.kind == "requantize" and "--allow-lossy" in str(f.help) for f in refusal.value.faults)
    assert not (tmp_path / "out").exists()

    result = target(tmp_path / "out", allow_lossy=True)
    assert result.plan.verdict is Verdict.LOSSY and "once more" in " ".join(result.plan.notes)
    assert Plan.from_json(result.plan.to_json()).to_json() == result.plan.to_json()
    before, after = ckptkit.open(REAL / name), ckptkit.open(tmp_path / "out")
    assert set(after.modules) == set(before.modules)
    assert {type(module.scheme.weight.granularity) for module in after.modules.values()} == {kind}
    assert not [f for f in ckptkit.validate(tmp_path / "out").findings if f.severity.value == "error"]
    assert ckptkit.diff(REAL / name, tmp_path / "out", plan=result.plan).same

    errors = result.errors
    assert errors is not None and not errors.not_measured
    for weight in errors.weights:
        ours, theirs = weights(before, weight.name), weights(after, weight.name)
        exact = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
        assert weight.measured.relative_error == pytest.approx(exact, rel=1e-6)
        assert 0.005 < exact < 0.04 and weight.clipped_share == 0
        assert weight.measured.worst is not None
        assert weight.measured.worst.absolute == pytest.approx(abs(theirs - ours).max(), rel=1e-5)
    document = json.loads(json.dumps(result.to_json()))
    assert schema.faults("result", document, file="result") == [] and document["errors"]["weights"]


def test_a_conversion_that_needs_no_rounding_is_not_rounded(tmp_path: Path) -> None:
    result = convert(REAL / "llama/quark-ptpc", tmp_path / "out", to="ct", allow_lossy=True)
    assert result.errors is None and result.plan.verdict is Verdict.LOSSLESS
    assert "errors" not in result.to_json()


def test_codes_stay_where_only_inputs_change(tmp_path: Path) -> None:
    """Static inputs become dynamic: the scales of inputs go, no code changes."""
    name = "llama/llmcompressor-fp8"
    load(name)
    with pytest.raises(ConversionRefused, match="without loss") as refusal:
        convert(REAL / name, tmp_path / "out", to="fp8", scheme="fp8_per_tensor")
    assert [fault.kind for fault in refusal.value.faults] == ["input-scales"]
    result = convert(REAL / name, tmp_path / "out", to="fp8", scheme="fp8_per_tensor", allow_lossy=True)
    before, after = tensors_of(REAL / name), tensors_of(tmp_path / "out")
    modules = ckptkit.open(REAL / name).modules
    assert all(after[f"{module}.weight"] == before[f"{module}.weight"] for module in modules)
    assert result.errors is None and any("static input scales go" in words for words in result.plan.gives_up)


def test_a_scheme_with_static_inputs_needs_their_scales() -> None:
    with pytest.raises(ConversionRefused) as refusal:
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", scheme="FP8", allow_lossy=True)
    assert "calibration" in str(refusal.value.faults[0].help)


@pytest.mark.parametrize("donor", ["llama/llmcompressor-fp8", "llama/quark-fp8-kv"])
def test_static_scales_come_from_another_checkpoint(donor: str, tmp_path: Path) -> None:
    choices = {"to": "modelopt", "scheme": "FP8", "scales_from": REAL / donor, "allow_lossy": True}
    plan = convert(REAL / "llama/quark-ptpc", tmp_path / "out", **choices).plan
    assert any(f"14 scales of inputs come from {REAL / donor}" in note for note in plan.notes)
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    after, theirs = ckptkit.open(tmp_path / "out"), ckptkit.open(REAL / donor)
    for name, module in after.modules.items():
        scale = theirs.modules[name].input_scale
        assert module.input_scale is not None and scale is not None
        assert after.container.read(module.input_scale) == theirs.container.read(scale)
    assert (after.kv_cache is None) == ("kv" not in donor)
    lacking = load("llama/llmcompressor-fp8")
    lacking.drop(r"model\.layers\.0\.mlp\.up_proj\.input_scale")
    with pytest.raises(ConversionRefused) as refusal:
        ckptkit.plan(REAL / "llama/quark-ptpc", **{**choices, "scales_from": lacking.write(tmp_path / "lacking")})
    assert "input-scale-missing" in {fault.kind for fault in refusal.value.faults}


def test_some_modules_only(tmp_path: Path) -> None:
    name = "llama/quark-ptpc"
    convert(REAL / name, tmp_path / "out", to="ct", scheme="FP8_BLOCK", modules="*.down_proj", allow_lossy=True)
    after = ckptkit.open(tmp_path / "out").modules
    blocks = {name for name, module in after.items() if isinstance(module.scheme.weight.granularity, PerBlock)}
    assert blocks == {name for name in after if name.endswith("down_proj")}


def test_attention_scales_without_a_place_go_where_it_is_allowed(tmp_path: Path) -> None:
    name = "llama/quark-fp8-attention"
    with pytest.raises(ConversionRefused, match="cannot hold"):
        ckptkit.plan(REAL / name, to="ct")
    plan = convert(REAL / name, tmp_path / "out", to="ct", allow_lossy=True).plan
    before, after = ckptkit.open(REAL / name), ckptkit.open(tmp_path / "out")
    assert before.kv_cache is not None and after.kv_cache is not None
    lost = {role for a in before.kv_cache.attention for role in a.stored()}
    lost -= {role for a in after.kv_cache.attention for role in a.stored()}
    assert lost == {"prob"} and any("prob scales" in words for words in plan.gives_up)
    assert any(change.aspect == "attention scales" for change in plan.changes)
    assert ckptkit.diff(REAL / name, tmp_path / "out", plan=plan).same


def test_choices_for_plain_weights_are_refused() -> None:
    with pytest.raises(CkptkitError, match="plain weights"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="ct", scheme="FP8_BLOCK", skip="*.q_proj", allow_lossy=True)


def test_an_fp8_head_becomes_a_plain_one_where_it_is_allowed(tmp_path: Path) -> None:
    source = REAL / "llama/bf16"
    quantized = convert(source, tmp_path / "ct", to="ct", scheme="FP8_DYNAMIC", default_skips=False).destination
    assert "lm_head" in ckptkit.open(quantized).modules
    with pytest.raises(ConversionRefused) as refusal:
        ckptkit.plan(quantized, to="quark")
    assert {fault.kind for fault in refusal.value.faults} == {"quantized-head"}
    plan = convert(quantized, tmp_path / "out", to="quark", allow_lossy=True).plan
    assert plan.verdict is Verdict.LOSSY
    assert any((change.subject, change.after) == ("lm_head", "not quantized") for change in plan.changes)
    after = tensors_of(tmp_path / "out")["lm_head.weight"]
    whole = tensors_of(convert(quantized, tmp_path / "plain", to="bf16").destination)["lm_head.weight"]
    assert after == whole and after.dtype == "BF16"


def test_a_head_is_plain_whatever_becomes_of_the_rest(tmp_path: Path) -> None:
    """It is made of what is stored: neither of codes that are only planned, nor under scales that others get."""
    source = REAL / "llama/bf16"
    convert(source, tmp_path / "new", to="quark", scheme="ptpc_fp8", default_skips=False, allow_lossy=True)
    assert tensors_of(tmp_path / "new")["lm_head.weight"] == tensors_of(source)["lm_head.weight"]
    quantized = convert(source, tmp_path / "ct", to="ct", scheme="FP8_DYNAMIC", default_skips=False).destination
    whole = tensors_of(convert(quantized, tmp_path / "plain", to="bf16").destination)["lm_head.weight"]
    for mode, number in (("tensor", 1), ("transformers", 2)):
        out = convert(quantized, tmp_path / f"{number}", to="fp8", mode=mode, allow_lossy=True).destination
        assert tensors_of(out)["lm_head.weight"] == whole and len(ckptkit.open(out).modules) == 14
