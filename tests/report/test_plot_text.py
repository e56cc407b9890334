"""Strips of ranges in a terminal."""

from __future__ import annotations

import math
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ckptkit.report.plot_text import draw, show_charts
from ckptkit.views.by_layer import Chart, Measurement, Panel, by_layer
from tests.report.test_hostile_reports import HOSTILE

BRAILLE, ASCII = (2, 4), (1, 1)


def panel_of(low: list[float], high: list[float]) -> Panel:
    layers = tuple(range(len(low)))
    return Panel("layers.*.q_proj", layers, tuple(low), tuple(high), (1,) * len(low))


def printed(chart: Chart, width: int) -> list[str]:
    stream = StringIO()
    show_charts([chart], Console(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True))
    return stream.getvalue().splitlines()


def test_a_strip_reaches_from_the_lowest_to_the_highest() -> None:
    lines = draw(panel_of([1.0, 1.0, 10.0], [100.0, 1.0, 10.0]), (1.0, 100.0), 3, ASCII)
    assert lines == ["#  ", "# #", "## "]


def test_braille_has_eight_dots_a_character() -> None:
    (top, _, bottom) = draw(panel_of([1.0, 1.0], [4096.0, 1.0]), (1.0, 4096.0), 1, BRAILLE)
    assert (top, bottom) == ("⡇", "⣇")


def test_a_layer_without_such_a_module_is_a_gap() -> None:
    panel = Panel("layers.*.q_proj", (0, 2), (1.0, 1.0), (4.0, 4.0), (1, 1))
    assert draw(panel, (1.0, 4.0), 3, ASCII) == ["# #"] * 3


def test_layers_that_do_not_fit_share_columns() -> None:
    panel = panel_of([1.0] * 1000, [2.0] * 999 + [4.0])
    top, middle, bottom = draw(panel, (1.0, 4.0), 50, ASCII)
    assert top == " " * 49 + "#" and middle == bottom == "#" * 50


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("layers", [1, 2, 32, 61, 500])
def test_it_fits(width: int, layers: int) -> None:
    values = [1e-4 * (1 + layer % 7) for layer in range(layers)]
    chart = by_layer("weight scale", [Measurement(f"model.layers.{n}.q_proj", v, 2 * v) for n, v in enumerate(values)])
    lines = printed(chart, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 2 + 1 + 3 + (2 if width == 60 else 1)


def test_the_numbers_are_beside_it() -> None:
    chart = by_layer("input scale", [Measurement(f"layers.{n}.q_proj", 0.5, 1.0 + n) for n in range(4)])
    lines = printed(chart, 80)
    assert lines[1] == "input scale by layer, logarithmic"
    assert lines[3].startswith("       4 │") and lines[5].startswith("     0.5 │")
    assert lines[6].strip() == "layers 0 to 3: 0.5 to 4, highest in layer 3"


def test_what_is_in_no_layer_and_what_is_not_drawn_is_said() -> None:
    chart = Chart("weight scale", (panel_of([1.0], [1.0]),), (Measurement("lm_head", 1.0, 2.0),), omitted=3)
    lines = printed(chart, 80)
    assert "  lm_head 1 to 2" in lines and "  3 more kinds of modules" in lines
    assert "          layer 0: 1" in lines


@given(st.lists(st.tuples(st.floats(1e-38, 1e38), st.floats(1, 1e6)), min_size=1, max_size=80), st.integers(1, 60))
def test_any_range_is_drawn(values: list[tuple[float, float]], width: int) -> None:
    panel = panel_of([low for low, _ in values], [low * times for low, times in values])
    low, high = min(panel.low), max(panel.high)
    lines = draw(panel, (low / 1.5, high * 1.5), width, BRAILLE)
    assert len(lines) == 3 and all(len(line) <= width for line in lines)
    assert any(line.strip() for line in lines) and math.isfinite(high)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_reach_no_terminal_raw(text: str) -> None:
    chart = by_layer("weight scale", [Measurement(f"layers.0.{text}", 1.0, 1.0), Measurement(text, 1.0, 1.0)])
    for line in printed(chart, 80):
        assert line.isprintable() or not line
