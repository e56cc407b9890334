"""Checkpoints that are no longer quantized: what goes, what is told, and what is refused."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.errors import CkptkitError, ConversionRefused
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import CONFIG, REAL, MutableCheckpoint, load, plain_fp8, tensors_of
from tests.formats.test_mixed import KINDS, mixed
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)

SOURCES = (
    "llama/quark-fp8-kv",
    "llama/quark-ptpc",
    "llama/llmcompressor-groups",
    "llama-tied/llmcompressor-dynamic",
    "llama-block-ragged/llmcompressor-block",
    "llama-block-wide/modelopt-block",
    "qwen3_moe/llmcompressor-dynamic",
)


@pytest.mark.parametrize("to", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("name", SOURCES)
def test_weights_are_products_and_nothing_of_the_quantization_is_left(name: str, to: str, tmp_path: Path) -> None:
    source = ckptkit.open(REAL / name)
    plan = convert(REAL / name, tmp_path / "out", to=to).plan
    assert plan.verdict is Verdict.LOSSY and "rounded once" in " ".join(plan.notes)
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    config = json.loads((tmp_path / "out" / CONFIG).read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert not (tmp_path / "out" / "hf_quant_config.json").exists()
    found = tensors_of(tmp_path / "out")
    assert set(found) == {f"{module}.weight" for module in source.modules} | {t.name for t in source.plain}
    for module in source.modules.values():
        assert module.weight_scale is not None
        codes, scale = (source.container.read(tensor) for tensor in (module.weight, module.weight_scale))
        exact = dequantized(
            numbers("F8_E4M3", codes).reshape(module.weight.shape),
            numbers(module.weight_scale.dtype, scale),
            module.scheme.weight.granularity,
        )
        made = found[module.weight.name]
        assert (made.dtype, made.shape) == (to.upper(), module.weight.shape)
        values = numbers(made.dtype, made.data).reshape(made.shape)
        assert abs(values - exact).max() <= 2.0**-8 * abs(exact).max()
    assert not [f for f in ckptkit.validate(tmp_path / "out").findings if f.severity.value == "error"]


@pytest.mark.parametrize(("to", "word"), [("f16", "float16"), ("f32", "float32"), ("bf16", "bfloat16")])
def test_the_config_says_in_which_type_the_weights_are(to: str, word: str, tmp_path: Path) -> None:
    """transformers loads a model in the type that its config names: F32 products would be rounded unseen."""
    source = load("qwen2_5_vl/llmcompressor-dynamic")
    source.config["torch_dtype"] = "bfloat16"
    source.config["text_config"] = {"dtype": "bfloat16", "hidden_act": "silu"}
    folder = source.write(tmp_path / "source")
    plan = convert(folder, tmp_path / "out", to=to).plan
    config = json.loads((tmp_path / "out" / CONFIG).read_text(encoding="utf-8"))
    assert config["torch_dtype"] == word and config["text_config"] == {"dtype": word, "hidden_act": "silu"}
    told = " ".join(plan.notes)
    assert (f"config.json says {word} then" in told) == ("keeps its type (BF16)" in told) == (to != "bf16")
    assert ckptkit.diff(folder, tmp_path / "out", plan=plan).same
    part = convert(folder, tmp_path / "part", to=to, modules="*.down_proj").destination
    assert json.loads((part / CONFIG).read_text(encoding="utf-8"))["torch_dtype"] == "bfloat16"


def test_scales_that_go_are_told() -> None:
    notes = " ".join(ckptkit.plan(REAL / "llama/quark-fp8-kv", to="bf16").notes)
    assert "static scales of inputs go" in notes and "scales of the KV cache" in notes
    assert "The values are kept" not in notes


def test_a_stack_of_experts_and_powers_of_two(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"

    def change(draft: MutableCheckpoint) -> None:
        plain_fp8(draft)
        draft.block["scale_fmt"] = "ue8m0"
        draft.change(r".*_scale_inv", lambda t: RawTensor("F8_E8M0", t.shape, bytes([118]) * (t.shape[0] * t.shape[1])))
        draft.put(name, "F8_E4M3", (2, 256, 128), bytes([0x38]) * (2 * 256 * 128))
        draft.put(f"{name}_scale_inv", "F8_E8M0", (2, 2, 1), bytes([126, 127, 128, 129]))

    draft = load("llama-block-aligned/llmcompressor-block")
    change(draft)
    convert(draft.write(tmp_path / "source"), tmp_path / "out", to="f32")
    made = tensors_of(tmp_path / "out")[name]
    values = numbers(made.dtype, made.data).reshape(made.shape)
    assert [float(values[e, row, 0]) for e in (0, 1) for row in (0, 128)] == [0.5, 1.0, 2.0, 4.0]


def test_a_code_that_is_no_number_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    draft = load("llama/llmcompressor-dynamic")
    name = "model.layers.1.mlp.up_proj.weight"
    draft.change(name.replace(".", r"\."), lambda t: t._replace(data=t.data[:70] + b"\x7f" + t.data[71:]))
    source = draft.write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"model\.layers\.1\.mlp\.up_proj\.weight.*\[1, 6\].*is no number"):
        convert(source, tmp_path / "out", to="bf16")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_integers_cannot_be_dequantized(tmp_path: Path) -> None:
    source = mixed(*KINDS["W8A8 INT8"]).write(tmp_path / "source")
    with pytest.raises(ConversionRefused, match="cannot hold the W8A8 INT8 modules") as refusal:
        ckptkit.plan(source, to="bf16")
    assert refusal.value.faults[0].help is None


@pytest.mark.parametrize("choices", [{"to": "ct"}, {"to": "fp8", "allow_lossy": True}])
def test_nvfp4_becomes_fp8_in_two_steps_which_the_refusal_names(choices: dict[str, Any], tmp_path: Path) -> None:
    source = REAL / "llama-block-aligned/modelopt-nvfp4"
    with pytest.raises(ConversionRefused, match="cannot hold the NVFP4 modules") as refusal:
        ckptkit.plan(source, **choices)
    assert "--to bf16" in str(refusal.value.faults[0].help) and "--scheme" in str(refusal.value.faults[0].help)
    convert(source, tmp_path / "plain", to="bf16")
    convert(
        tmp_path / "plain", tmp_path / "out", to=choices["to"], scheme="fp8_block" if choices["to"] == "ct" else None
    )
    assert len(ckptkit.open(tmp_path / "out").modules) == 7


def test_a_value_beyond_f16_is_named_with_the_types_that_hold_it(tmp_path: Path) -> None:
    draft = load("llama/llmcompressor-dynamic")
    draft.change(r"model\.layers\.0\.mlp\.up_proj\.weight_scale", lambda t: t._replace(data=b"\x1c\x46" + t.data[2:]))
    source = draft.write(tmp_path / "source")
    with pytest.raises(CkptkitError, match=r"up_proj\.weight.*is more than F16 holds: .*; BF16 and F32 hold it"):
        convert(source, tmp_path / "out", to="f16")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    convert(source, tmp_path / "out", to="bf16")


def test_nothing_is_read_as_this() -> None:
    with pytest.raises(CkptkitError, match="not a quantized checkpoint"):
        ckptkit.open(REAL / "llama/bf16")


@pytest.mark.parametrize("installed", [True, False])
def test_a_plan_says_what_would_be_faster(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptkit.conversion.planner._LONG", 1)
    monkeypatch.setattr("ckptkit.operations.machine.find_spec", lambda name: object() if installed else None)
    notes = ckptkit.plan(REAL / "llama/quark-ptpc", to="bf16").notes
    assert any("ckptkit-fp8[fast]" in note for note in notes) is not installed
    assert not any("ckptkit-fp8[fast]" in note for note in ckptkit.plan(REAL / "llama/quark-ptpc", to="ct").notes)


PARTS = (
    ("llama/quark-fp8-kv", "*.mlp.*"),
    ("llama/quark-ptpc", "model.layers.1.*"),
    ("llama/llmcompressor-groups", "*.mlp.down_proj"),
    ("llama-block-ragged/llmcompressor-block", "*.self_attn.*"),
    ("llama-block-wide/modelopt-block", "model.layers.0.mlp.*"),
    ("qwen3_moe/llmcompressor-dynamic", "model.layers.1.mlp.*"),
    ("qwen2_5_vl/llmcompressor-dynamic", "*.o_proj"),
)


@pytest.mark.parametrize(("name", "glob"), PARTS)
def test_some_modules_are_dequantized_and_the_rest_keeps_its_format(name: str, glob: str, tmp_path: Path) -> None:
    source = ckptkit.open(REAL / name)
    plan = convert(REAL / name, tmp_path / "out", to="bf16", modules=[glob]).plan
    whole = tensors_of(convert(REAL / name, tmp_path / "whole", to="bf16").destination)
    result, found = ckptkit.open(tmp_path / "out"), tensors_of(tmp_path / "out")
    chosen = {module for module in source.modules if fnmatchcase(module, glob)}
    assert chosen and (result.format, result.dialect) == (source.format, source.dialect)
    assert set(result.modules) == set(source.modules) - chosen and chosen <= set(result.unquantized)
    assert all(found[f"{module}.weight"] == whole[f"{module}.weight"] for module in chosen)
    declared = {change.subject for change in plan.changes if change.aspect == "scheme"}
    assert declared == chosen
    kept = {module: source.modules[module].scheme for module in result.modules}
    assert {module: entry.scheme for module, entry in result.modules.items()} == kept
    reports = [ckptkit.validate(path).findings for path in (REAL / name, tmp_path / "out")]
    before, after = ({f.code for f in findings if f.severity.value != "info"} for findings in reports)
    assert after <= before


def test_a_part_that_cannot_be_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CkptkitError, match=r"matches no module"):
        ckptkit.plan(REAL / "llama/quark-ptpc", to="bf16", modules="*.no_such_proj")
    with pytest.raises(ConversionRefused, match="errors that the source has not"):
        convert(REAL / "llama/quark-ptpc", tmp_path / "out", to="bf16", modules="*.q_proj")  # k and v stay in FP8
    with pytest.raises(ConversionRefused, match="all experts of a layer are loaded as one"):
        convert(REAL / "qwen3_moe/llmcompressor-dynamic", tmp_path / "out", to="bf16", modules="*.experts.0.*")
    assert not (tmp_path / "out").exists()
