"""The scales of modules in groups: read as their types say, times the scale of the scales, by layer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.model.checkpoint import Part
from ckptkit.model.numbers import numbers
from ckptkit.views.group_scales import group_scale_chart, modules_in_groups, scale_bytes
from ckptkit.views.skip_table import QUANTIZED, skip_views
from tests.cli.conftest import REAL, run_process
from tests.damage import load
from tests.formats import deepseek_v4
from tests.formats.test_mxfp4 import gpt_oss
from tests.raw import write_files
from tests.rules.case import context_of

ALIGNED = REAL / "llama-block-aligned"


def ranges(checkpoint: ckptkit.Checkpoint) -> dict[str, tuple[float, float]]:
    chart = group_scale_chart(checkpoint)
    found = {one.name: (one.low, one.high) for one in chart.alone}
    for panel in chart.panels:
        for layer, low, high in zip(panel.layers, panel.low, panel.high, strict=True):
            found[panel.kind.replace("*", str(layer), 1)] = (low, high)
    return found


def test_nvfp4_is_multiplied_by_its_second_scale() -> None:
    checkpoint = ckptkit.open(ALIGNED / "modelopt-nvfp4")
    found = ranges(checkpoint)
    assert len(found) == len(modules_in_groups(checkpoint)) == 7
    for name, module in checkpoint.opaque.items():
        scale, second = (module.parts[part] for part in (Part.SCALE, Part.SECOND_SCALE))
        values = numbers(scale.dtype, checkpoint.container.read(scale))
        (factor,) = numbers(second.dtype, checkpoint.container.read(second))
        values = values[values > 0] * factor
        assert found[name] == pytest.approx((values.min(), values.max()))


def test_bytes_are_exponents_in_mx_formats(tmp_path: Path) -> None:
    checkpoint = ckptkit.open(write_files(tmp_path / "gpt-oss", gpt_oss()))
    found = ranges(checkpoint)
    assert set(found) == {f"model.layers.0.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")}
    assert set(found.values()) == {(2.0 ** (110 - 127), 2.0 ** (124 - 127))}
    told: list[int] = []
    group_scale_chart(checkpoint, told.append)
    assert sum(told) == scale_bytes(checkpoint) > 0
    experts = ckptkit.open(write_files(tmp_path / "v4", deepseek_v4.files()))
    assert all(math.log2(low).is_integer() for low, _ in ranges(experts).values()) and len(experts.opaque) == 36


def test_zeros_and_what_is_no_number_are_left_out(tmp_path: Path) -> None:
    checkpoint = load("llama-block-aligned/modelopt-nvfp4")
    name = "model.layers.0.mlp.up_proj.weight_scale"
    codes = np.frombuffer(checkpoint.tensors[name].data, np.uint8).copy()
    codes[0], codes[1], codes[2:] = 0, 0x7F, 0x38
    checkpoint.tensors[name] = checkpoint.tensors[name]._replace(data=codes.tobytes())
    opened = ckptkit.open(checkpoint.write(tmp_path / "checkpoint"))
    low, high = ranges(opened)["model.layers.0.mlp.up_proj"]
    assert low == high
    checkpoint.tensors[name] = checkpoint.tensors[name]._replace(data=bytes(len(codes)))
    assert "model.layers.0.mlp.up_proj" not in ranges(ckptkit.open(checkpoint.write(tmp_path / "zeros")))


def test_skip_lists_hold_modules_in_other_quantizations() -> None:
    """A fused group may have members of which no weight in FP8 is stored."""
    table = skip_views(context_of(load("llama-block-aligned/modelopt-nvfp4")))
    row = next(row for row in table.rows if row.module == "model.layers.0.mlp.gate_proj")
    assert row.stored == "U8" and set(row.decisions.values()) == {QUANTIZED} and table.contradictions == ()


@pytest.mark.parametrize("name", ["modelopt-nvfp4", "modelopt-mxfp8"])
def test_every_table_of_such_a_checkpoint(name: str) -> None:
    done = run_process("validate", ALIGNED / name, "--matrix", "--skip-list", "--tp", "1,2", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["skip_lists"]["modules"]) == 8
    plotted = run_process("inspect", ALIGNED / name, "--plot")
    assert plotted.returncode == 0 and "group scale by layer, logarithmic" in plotted.stdout
