"""All experts of a layer as one FP8 tensor: read, counted, carried, and cut where a target has one weight for each."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import ConversionRefused
from tests.damage import BLOCK, MutableCheckpoint, f32, plain_fp8, tensors_of
from tests.formats.fp8_files import BLOCKS, convert, written

OWNER = "model.layers.0.mlp.experts"
EXPERTS, ROWS, COLUMNS = 2, 256, 128


@pytest.fixture(params=["", ".weight"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """As transformers names them: the scale's name goes on from the weight's, which may end in ``.weight``."""

    def change(checkpoint: MutableCheckpoint) -> None:
        plain_fp8(checkpoint)
        for stack, rows in (("gate_up_proj", ROWS), ("down_proj", COLUMNS)):
            name = f"{OWNER}.{stack}{request.param}"
            checkpoint.put(name, "F8_E4M3", (EXPERTS, rows, COLUMNS), bytes([0x30]) * (EXPERTS * rows * COLUMNS))
            checkpoint.put(f"{name}_scale_inv", "F32", (EXPERTS, rows // 128, 1), f32(0.5) * (EXPERTS * rows // 128))

    return written(BLOCK, change, tmp_path / "source")


def test_a_stack_of_experts(source: Path, tmp_path: Path) -> None:
    found = ckptkit.open(source)
    module = found.modules[f"{OWNER}.gate_up_proj"]
    assert (module.experts, module.scheme) == (EXPERTS, BLOCKS)
    assert module.weight_scale is not None and module.weight_scale.name == f"{module.weight.name}_scale_inv"
    assert not found.foreign and not found.orphans and not found.stored_only
    convert(source, tmp_path / "again", to="fp8")
    assert tensors_of(tmp_path / "again") == tensors_of(source)


def test_its_parameters_are_counted(source: Path, tmp_path: Path) -> None:
    before = ckptkit.inspect(written(BLOCK, plain_fp8, tmp_path / "without")).parameters
    assert before is not None
    assert ckptkit.inspect(source).parameters == before + EXPERTS * (ROWS + COLUMNS) * COLUMNS


@pytest.mark.parametrize("to", ["ct", "quark", "modelopt"])
def test_a_target_without_stacks_says_how_to_cut_them(to: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="one module for each expert") as refused:
        ckptkit.plan(source, to=to)
    assert "--experts split" in (refused.value.faults[0].help or "")
    plan = convert(source, tmp_path / "out", to=to, experts="split").plan
    assert plan.verdict is Verdict.LOSSLESS and plan.cost.kind is CostKind.HEADER_ONLY
    modules = ckptkit.open(tmp_path / "out").modules
    assert {f"{OWNER}.{e}.{part}" for e in range(EXPERTS) for part in ("gate_proj", "up_proj", "down_proj")} < set(
        modules
    )
