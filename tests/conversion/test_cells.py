"""Every cell of the conversion matrix on real exports: what it says is what a conversion does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import ckptkit
from ckptkit.conversion.cells import ROWS, Work, cell, columns, markdown
from ckptkit.conversion.plan import CostKind, Verdict
from ckptkit.errors import ConversionRefused
from ckptkit.formats.registry import BUILT_IN
from tests.damage import MutableCheckpoint, f32, load
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)

CT, CT_STATIC, QUARK_STATIC = "llama/llmcompressor-dynamic", "llama/llmcompressor-fp8", "llama/quark-fp8"


@dataclass(frozen=True)
class Source:
    """An export of one row, as it is or with its config and scales changed."""

    row: str
    fixture: str
    change: Callable[[MutableCheckpoint], None] = lambda draft: None

    def __str__(self) -> str:
        return f"{self.row}, {self.fixture}"


def _args(strategy: str, *, dynamic: bool = False) -> dict[str, object]:
    return {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": dynamic}


def _tokens(draft: MutableCheckpoint) -> None:
    draft.drop(r".*\.input_scale")
    draft.group["input_activations"] = _args("token", dynamic=True)


def _whole_inputs(draft: MutableCheckpoint) -> None:
    draft.drop(r".*\.input_scale")
    draft.block["global_quant_config"]["input_tensors"]["is_dynamic"] = True


def _static_beside_channels(draft: MutableCheckpoint) -> None:
    draft.group["input_activations"] = _args("tensor")
    for name in draft.names(r".*\.weight_scale"):
        draft.put(name.replace("weight_scale", "input_scale"), "F32", (1,), f32(0.25))


def _weights_only(draft: MutableCheckpoint) -> None:
    draft.drop(r".*\.input_scale")
    draft.group["input_activations"] = None


SOURCES = (
    Source("per tensor, static inputs", CT_STATIC),
    Source("per tensor, static inputs", QUARK_STATIC),
    Source("per tensor, static inputs", "llama/modelopt-fp8"),
    Source("per tensor, dynamic per-token inputs", CT_STATIC, _tokens),
    Source("per tensor, dynamic per-tensor inputs", QUARK_STATIC, _whole_inputs),
    Source("per channel, dynamic per-token inputs", CT),
    Source("per channel, dynamic per-token inputs", "llama/quark-ptpc"),
    Source("per channel, dynamic per-token inputs", "llama/modelopt-channel"),
    Source("per channel, static inputs", CT, _static_beside_channels),
    Source("blocks of 128x128, dynamic per-group inputs", "llama-block-aligned/llmcompressor-block"),
    Source("blocks of 128x128, dynamic per-group inputs", "llama-block-aligned/quark-block"),
    Source("blocks of 128x128, dynamic per-group inputs", "llama-block-wide/modelopt-block"),
    Source("per tensor, weights only", CT_STATIC, _weights_only),
    Source("per channel, weights only", "llama/llmcompressor-weight-only"),
)
COLUMNS = columns(BUILT_IN)


def test_every_row_has_a_real_export() -> None:
    assert {source.row for source in SOURCES} == {row.name for row in ROWS}


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column[0])
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_a_cell(source: Source, column: tuple, tmp_path: Path) -> None:  # type: ignore[type-arg]
    _, dialect, capabilities = column
    draft = load(source.fixture)
    source.change(draft)
    folder, to, mode = draft.write(tmp_path / "source"), dialect.format, dialect.mode
    (scheme,) = ckptkit.open(folder).schemes
    assert scheme == next(row.scheme for row in ROWS if row.name == source.row)
    expected = cell(scheme, capabilities)
    if expected.work is Work.REFUSED or expected.gives_up:
        with pytest.raises(ConversionRefused) as refused:
            ckptkit.plan(folder, to=to, mode=mode)
        offered = all("--allow-lossy" in (fault.help or "") for fault in refused.value.faults)
        assert offered is (expected.work is not Work.REFUSED)
    if expected.work is Work.REFUSED:
        try:
            lossy = ckptkit.plan(folder, to=to, mode=mode, allow_lossy=True)
        except ConversionRefused:
            return
        assert lossy.verdict is Verdict.LOSSY  # no cell, since values are rounded: see test_requantize.py
        assert any("requantize" in step.operations for step in lossy.steps)
        return
    plan = convert(folder, tmp_path / "out", to=to, mode=mode, allow_lossy=expected.gives_up).plan
    assert plan.verdict is (Verdict.LOSSY if expected.gives_up else Verdict.LOSSLESS)
    assert bool(plan.gives_up) is expected.gives_up
    assert any("inputs go from" in note for note in plan.notes) is expected.inputs_change
    widened = any(scale.dtype != "F32" for scale in _scales(folder)) and capabilities.scale_dtypes == {"F32"}
    if expected.work is Work.HEADER and not widened:
        assert plan.cost.computed == 0
        assert plan.cost.kind is CostKind.HEADER_ONLY or expected.gives_up  # dropped scales leave holes
    assert ckptkit.diff(folder, tmp_path / "out", plan=plan).same
    assert not ckptkit.validate(tmp_path / "out").errors or expected.work is Work.SCALES  # a block may be cut
    if expected.work is Work.HEADER and not (expected.inputs_change or widened):
        there = ckptkit.open(folder)
        back = convert(tmp_path / "out", tmp_path / "back", to=there.format).plan
        assert back.verdict is Verdict.LOSSLESS
        assert ckptkit.diff(folder, tmp_path / "back").same


def _scales(folder: Path) -> list[RawTensor]:
    checkpoint = ckptkit.open(folder)
    return [RawTensor(scale.dtype, scale.shape, b"") for scale in checkpoint.scale_tensors()]


def test_the_table_has_every_dialect_and_every_row() -> None:
    lines = markdown(BUILT_IN).splitlines()
    assert len(lines) == len(ROWS) + 2
    assert all(line.count("|") == len(COLUMNS) + 2 for line in lines)
    assert [name for name, _, _ in COLUMNS] == [
        "compressed-tensors",
        "quark",
        "quark --mode fp8",
        "fp8",
        "fp8 --mode tensor",
        "fp8 --mode transformers",
        "modelopt",
        "fbgemm-fp8",
    ]
