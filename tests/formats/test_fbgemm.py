"""fbgemm: one scale for each row, and inputs that are bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import FormatError
from tests.damage import CT, REAL, MutableCheckpoint, f32, tensors_of
from tests.formats.fp8_files import bent, block_of, codes, convert, written
from tests.raw import RawTensor


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
