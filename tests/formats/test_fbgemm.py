"""fbgemm: one scale for each row, and inputs that are bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import ConversionRefused, FormatError
from tests.damage import CONFIG, CT, REAL, MutableCheckpoint, f32, tensors_of
from tests.formats.fp8_files import bent, block_of, codes, convert, written
from tests.raw import RawTensor, shard_bytes, write_files

EXPERTS = "model.layers.0.feed_forward.experts"


def test_fbgemm_there_and_back(tmp_path: Path) -> None:
    plan = convert(REAL / CT, tmp_path / "fbgemm", to="fbgemm").plan
    assert plan.cost.kind is CostKind.RECOMPUTE and plan.verdict is Verdict.LOSSLESS
    assert any("up to 1200" in note for note in plan.notes)
    assert block_of(tmp_path / "fbgemm") == {
        "quant_method": "fbgemm_fp8",
        "activation_scale_ub": 1200.0,
        "modules_to_not_convert": ["lm_head"],
    }
    scales = {n: t for n, t in tensors_of(tmp_path / "fbgemm").items() if n.endswith("_scale")}
    assert {(t.dtype, t.shape[1]) for t in scales.values()} == {("F32", 1)}
    assert codes(tmp_path / "fbgemm") == set()
    back = convert(tmp_path / "fbgemm", tmp_path / "ct", to="ct").plan
    assert back.cost.kind is CostKind.HEADER_ONLY and any("up to 1200 to" in note for note in back.notes)
    assert ckptkit.diff(REAL / CT, tmp_path / "ct").same
    again = convert(tmp_path / "fbgemm", tmp_path / "again", to="fbgemm").plan
    assert not again.changes and tensors_of(tmp_path / "again") == tensors_of(tmp_path / "fbgemm")


@pytest.mark.parametrize("bound", [0, -1, True, "1200", float("inf"), None])
def test_a_bound_that_is_none(bound: Any, tmp_path: Path) -> None:
    convert(REAL / CT, tmp_path / "fbgemm", to="fbgemm")
    source = bent(tmp_path / "fbgemm", tmp_path / "bent", activation_scale_ub=bound)
    with pytest.raises(FormatError, match="activation_scale_ub"):
        ckptkit.open(source)


def test_a_flat_scale_is_found_and_fixed(tmp_path: Path) -> None:
    """[N] where vLLM's loader wants [N, 1]."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(r".*\.weight_scale", lambda t: RawTensor("F32", t.shape[:1], f32(0.5) * t.shape[0]))
        checkpoint.config["quantization_config"] = {
            "quant_method": "fbgemm_fp8",
            "activation_scale_ub": 1200.0,
            "modules_to_not_convert": ["lm_head"],
        }

    source = written(CT, change, tmp_path / "source")
    assert codes(source) == {"CK301"}
    ckptkit.fix(source)
    assert codes(source) == set()


def llama4(folder: Path) -> Path:
    """As transformers stores the experts of Llama 4: [experts, inputs, outputs], and scales along the outputs."""
    convert(REAL / CT, folder.parent / "fbgemm", to="fbgemm")
    stacks = {}
    for name, shape, scales in (("gate_up_proj", (2, 64, 128), (2, 1, 128)), ("down_proj", (2, 64, 64), (2, 64, 1))):
        size, scaled = shape[0] * shape[1] * shape[2], scales[0] * scales[1] * scales[2]
        stacks[f"{EXPERTS}.{name}"] = RawTensor("F8_E4M3", shape, bytes([0x30]) * size)
        stacks[f"{EXPERTS}.{name}_scale"] = RawTensor("F32", scales, f32(0.5) * scaled)
    tensors = {**tensors_of(folder.parent / "fbgemm"), **stacks}
    config = (folder.parent / "fbgemm" / CONFIG).read_bytes()
    return write_files(folder, {CONFIG: config, "model.safetensors": shard_bytes(tensors, {"format": "pt"})})


def test_stacks_of_llama4_are_named_counted_and_carried(tmp_path: Path) -> None:
    source = llama4(tmp_path / "source")
    found, before = ckptkit.open(source), ckptkit.inspect(tmp_path / "fbgemm").parameters
    assert set(found.opaque) == {f"{EXPERTS}.gate_up_proj", f"{EXPERTS}.down_proj"} and len(found.modules) == 14
    assert not (found.foreign or found.orphans or found.stored_only)
    assert before is not None and ckptkit.inspect(source).parameters == before + 2 * 64 * 128 + 2 * 64 * 64
    assert "2 modules E4M3 stacks [experts, inputs, outputs]" in ckptkit.inspect(source).quantization
    assert not ckptkit.validate(source).errors
    convert(source, tmp_path / "again", to="fbgemm")
    assert tensors_of(tmp_path / "again") == tensors_of(source)
    for to in ("ct", "modelopt", "bf16"):
        with pytest.raises(ConversionRefused, match="E4M3 stacks"):
            ckptkit.plan(source, to=to)
