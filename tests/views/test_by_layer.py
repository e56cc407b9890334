"""Measurements under their kinds and layers."""

from __future__ import annotations

import math

from ckptkit import open as open_checkpoint
from ckptkit.model.values import decode
from ckptkit.views.by_layer import MOST_ALONE, MOST_PANELS, Measurement, by_layer
from ckptkit.views.scale_ranges import read_values, scale_charts
from tests.cli.conftest import REAL
from tests.damage import load


def test_the_experts_of_a_layer_are_one_range() -> None:
    experts = [Measurement(f"layers.{n}.experts.{e}.w1", 1.0 + e, 2.0 + e) for n in (3, 10) for e in range(4)]
    (panel,) = by_layer("weight scale", experts).panels
    assert panel.kind == "layers.*.experts.*.w1"
    assert (panel.layers, panel.low, panel.high, panel.counts) == ((3, 10), (1.0, 1.0), (5.0, 5.0), (4, 4))


def test_what_is_in_no_layer_stands_alone() -> None:
    chart = by_layer("weight scale", [Measurement("lm_head", 1.0, 2.0), Measurement("a.12345678.b", 1.0, 1.0)])
    assert chart.panels == () and [one.name for one in chart.alone] == ["a.12345678.b", "lm_head"]


def test_what_is_no_number_is_left_out() -> None:
    values = (math.nan, math.inf)
    chart = by_layer("weight scale", [Measurement(f"layers.{n}.w", value, value) for n, value in enumerate(values)])
    assert chart.panels == () and chart.alone == ()


def test_a_chart_holds_so_many_kinds_and_counts_the_others() -> None:
    kinds = [Measurement(f"layers.0.module_{n}", 1.0, 1.0) for n in range(MOST_PANELS + 5)]
    often = [Measurement(f"layers.{n}.often", 1.0, 1.0) for n in range(3)]
    alone = [Measurement(f"head_{n}", 1.0, 1.0) for n in range(MOST_ALONE + 2)]
    chart = by_layer("weight scale", [*kinds, *often, *alone])
    assert len(chart.panels) == MOST_PANELS and len(chart.alone) == MOST_ALONE
    assert chart.omitted == 6 + 2
    assert "layers.*.often" in {panel.kind for panel in chart.panels}


def test_the_ranges_are_those_of_the_stored_scales() -> None:
    checkpoint = open_checkpoint(REAL / "llama" / "quark-fp8-kv")
    stored = load("llama/quark-fp8-kv").tensors
    charts = {chart.measure: chart for chart in scale_charts(checkpoint, read_values(checkpoint))}
    assert list(charts) == ["weight scale", "input scale", "KV-cache scale"]
    names = {"weight scale": "weight_scale", "input scale": "input_scale"}
    for measure, last in names.items():
        for panel in charts[measure].panels:
            for layer, low, high in zip(panel.layers, panel.low, panel.high, strict=True):
                raw = stored[f"{panel.kind.replace('*', str(layer))}.{last}"].data
                value = decode("BF16", int.from_bytes(raw, "little"))
                assert low == high == value
    # Whatever the format calls them, and under the attention that they belong to.
    kinds = [panel.kind for panel in charts["KV-cache scale"].panels]
    assert kinds == ["model.layers.*.self_attn.k_scale", "model.layers.*.self_attn.v_scale"]
