"""Traps of ModelOpt, plain fp8 and fbgemm_fp8."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.engines.registry import readings_for
from ckptkit.model.granularity import PerChannel
from tests.damage import BLOCK, CT, CT_FP8, REAL, f32, load, plain_fp8, steps, tensors_of
from tests.traps.common import block_of, codes, convert, notes, refusal, row_of

MODELOPT, MODELOPT_KV = "llama/modelopt-fp8", "llama/modelopt-fp8-kv"


def test_trap_23_transformers_takes_modelopts_codes_for_values(out: Path) -> None:
    row = row_of("transformers", REAL / MODELOPT)
    assert row.verdict == "does not read" and "takes codes for values" in row.note
    assert "transformers 5.16.1 has no reader" in notes(convert(REAL / CT_FP8, out, to="modelopt").plan)


def test_trap_24_transformers_leaves_alone_what_begins_or_ends_like_an_entry(tmp_path: Path) -> None:
    readings = readings_for("fp8-block")
    for entry, module in (("model.layers.1", "model.layers.10.mlp.up_proj"), ("gate", "model.layers.0.mlp.up_gate")):
        left_alone = {engine: reading.matcher((entry,))(module) for engine, reading in readings.items()}
        assert left_alone["transformers"] and not left_alone["vllm"]
    draft = load(BLOCK)
    plain_fp8(draft)
    draft.block["ignored_layers"] = ["lm_head", "model.layers.0"]
    source = draft.write(tmp_path / "source")
    (finding, *more) = [f for f in ckptkit.validate(source).findings if f.code == "CK608"]
    assert all((f.tensor or "").startswith("model.layers.0.") for f in (finding, *more))
    assert "transformers" in (finding.found or "")


def test_trap_25_a_part_of_a_name_is_enough_for_modelopt(tmp_path: Path) -> None:
    draft = load(MODELOPT)
    draft.block["ignore"].append("up_pro")
    source = draft.write(tmp_path / "source")
    found = ckptkit.open(source)
    assert {tensor.name.split(".")[-2] for tensor in found.stored_only} == {"up_proj"}
    assert "CK606" in codes(source)


def test_trap_26_modelopts_fp8_is_always_static(tmp_path: Path, out: Path) -> None:
    """Dynamic inputs beside one scale for a weight become another algorithm, with the scale once for each row."""
    draft = load(CT_FP8)
    draft.drop(r".*\.input_scale")
    draft.group["input_activations"] = {**draft.group["weights"], "strategy": "token", "dynamic": True}
    convert(draft.write(tmp_path / "source"), out, to="modelopt")
    assert block_of(out)["quant_algo"] == "FP8_PER_CHANNEL_PER_TOKEN"
    (scheme,) = ckptkit.open(out).schemes
    assert scheme.weight.granularity == PerChannel()
    missing = load(MODELOPT)
    missing.drop(r".*\.input_scale")
    assert "CK621" in codes(missing.write(tmp_path / "missing"))


def test_trap_27_modelopts_grids_have_four_dimensions_and_whole_columns(tmp_path: Path, out: Path) -> None:
    convert(REAL / BLOCK, out, to="modelopt")
    scales = {name: t.shape for name, t in tensors_of(out).items() if name.endswith("_scale")}
    assert scales and all(len(shape) == 4 and shape[1] == shape[3] == 1 for shape in scales.values())
    draft = load("llama-block-ragged/llmcompressor-block")
    assert "block-columns" in refusal(draft.write(tmp_path / "ragged"), "modelopt")


@pytest.mark.parametrize(
    ("clamped", "message", "found"),
    [
        (r".*\.[kv]_scale", "all KV scales are exactly 1.0", "4 times 1.0"),
        (r".*layers\.1.*\.k_scale", "KV scales are exactly 1.0, to which smaller ones are raised", "1 of 4"),
    ],
)
def test_trap_28_clamped_kv_scales_are_named(clamped: str, message: str, found: str, tmp_path: Path) -> None:
    draft = load(MODELOPT_KV)
    draft.change(clamped, lambda tensor: tensor._replace(data=f32(1.0)))
    source = draft.write(tmp_path / "source")
    (finding,) = [finding for finding in ckptkit.validate(source).findings if finding.code == "CK908"]
    assert (finding.message, finding.found) == (message, found)
    assert (finding.tensor or "").endswith(".k_scale") and not ckptkit.validate(source).errors


def test_trap_50_fbgemm_is_deprecated_and_clamps(out: Path) -> None:
    plan = convert(REAL / CT, out, to="fbgemm").plan
    assert "--allow-deprecated-quantization" in notes(plan)
    assert "dynamic per-token to dynamic per-token up to 1200: what is served differs" in notes(plan)
    assert {"activation_scale_ub", "modules_to_not_convert"} <= block_of(out).keys()
    row = row_of("vllm", out)
    assert row.verdict == "refuses" and any("deprecated" in part for part in row.parts["refused"])


@pytest.mark.parametrize("key", ["activation_scale_ub", "modules_to_not_convert"])
def test_both_keys_of_fbgemm_are_asked_for(key: str, tmp_path: Path, out: Path) -> None:
    convert(REAL / CT, out, to="fbgemm")
    draft = load(CT)
    config = block_of(out)
    del config[key]
    steps(lambda checkpoint: checkpoint.config.update(quantization_config=config))(draft)
    assert "CK629" in codes(draft.write(tmp_path / "source"))
