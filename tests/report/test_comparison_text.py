"""How far two checkpoints are apart, for people: kinds and single weights, the worst first, at any width."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

import ckptkit
from ckptkit.conversion.comparison import Comparison, Difference, Errors, NotMeasured, WeightErrors, worst_first
from ckptkit.measure.errors import Measured, WorstElement
from ckptkit.report import comparison_text, text
from ckptkit.report.comparison_text import show_comparison

Capture = pytest.CaptureFixture[str]
REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    text.console.cache_clear()


def measured(error: float, *, dead: int = 0, not_finite: int = 0) -> Measured:
    return Measured(
        elements=100,
        not_finite=not_finite,
        squares=1.0,
        error_squares=error * error,
        worst=WorstElement(1, 2, 0.5, 0.5 + error),
        codes=100,
        saturated=2,
        clipped=dead,
        rows=10,
        dead_rows=dead,
    )


def weight(layer: int, part: str, error: float, **more: int) -> WeightErrors:
    name = f"model.layers.{layer}.{part}"
    return WeightErrors(name, (10, 10), "BF16", "F8_E4M3 per-channel", measured(error, **more))


WEIGHTS = worst_first([weight(n, part, 0.02 + n / 1000) for n in range(3) for part in ("mlp.up_proj", "attn.o_proj")])


def compared(*weights: WeightErrors, base: str = "left", unknown: tuple[NotMeasured, ...] = ()) -> Comparison:
    schemes = [Difference(w.name, "scheme", "not quantized", "W8A8 FP8") for w in weights]
    values = [Difference(w.name, "dequantized weight, the worst at [1, 2]", "1", "2") for w in weights]
    return Comparison("a", "b", (*schemes, *values), 6, 2, 1024, errors=Errors(base, weights, 5, unknown))


def shown(comparison: Comparison, capsys: Capture, limit: int | None = 10) -> list[str]:
    show_comparison(comparison, limit)
    return capsys.readouterr().out.splitlines()


def test_kinds_come_before_single_weights_and_values_are_not_told_twice(capsys: Capture) -> None:
    assert shown(compared(*WEIGHTS), capsys, 2) == [
        "differs model.layers.2.attn.o_proj: scheme (and 5 like it)",
        "    left:  not quantized",
        "    right: W8A8 FP8",
        "errors of the right one, with the left one as the base:",
        "  error  SNR dB  clipped  dead rows  count  kind of weight",
        " 0.0210    33.5        0          0      3  model.layers.*.attn.o_proj",
        " 0.0210    33.5        0          0      3  model.layers.*.mlp.up_proj",
        "  error  SNR dB  clipped  dead rows  weight, the worst first",
        " 0.0220    33.2        0          0  model.layers.2.attn.o_proj at [1,2] 0.5 → 0.522",
        " 0.0220    33.2        0          0  model.layers.2.mlp.up_proj at [1,2] 0.5 → 0.522",
        "    ... and 4 weights more; --all shows them, --json too",
        "in all 6 weights: error 0.0210, SNR 33.5 dB; 5 others are equal",
        "error: the norm of the difference over that of the base; rounding to E4M3 alone makes about 0.026, 32 dB. "
        "clipped: codes",
        "at the end of the range with a base beyond it. dead rows: zero, and not in the base",
        "12 differences (6 quantized modules, 2 other tensors, 1 KiB compared)",
    ]


def test_limits(capsys: Capture) -> None:
    every = shown(compared(*WEIGHTS), capsys, None)
    assert sum("at [1,2]" in line for line in every) == 6 and not any("more;" in line for line in every)
    none = shown(compared(*WEIGHTS), capsys, 0)
    assert not any("at [1,2]" in line for line in none) and any("and 6 weights more" in line for line in none)


def test_one_weight_of_each_kind_is_shown_once(capsys: Capture) -> None:
    lines = shown(compared(weight(0, "mlp.up_proj", 0.5), base="right"), capsys)
    assert lines.count("errors of the left one, with the right one as the base:") == 1
    assert sum("model.layers.0.mlp.up_proj at" in line for line in lines) == 1
    assert not any("kind of weight" in line for line in lines)


def test_what_went_wrong_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(width=120, record=True, force_terminal=True, color_system="standard", markup=False, highlight=False)
    monkeypatch.setattr(comparison_text, "console", lambda: out)
    bad = [weight(0, "a", 0.5, dead=3), weight(1, "a", 0.06, not_finite=2), weight(2, "a", 0.02)]
    show_comparison(compared(*worst_first(bad)))
    text_ = out.export_text(styles=True)
    assert "\x1b[1;31m0.500" in text_ and "\x1b[1;33m0.0600" in text_ and "\x1b[1;31m3\x1b" in text_
    assert text_.count("\x1b[1;31m, 2 elements not finite") == 2, "of the weight, and of its kind"
    assert "3%" in text_
    lines = out.export_text().splitlines() or text_.splitlines()
    assert "m0.0200" not in "".join(lines)


def test_weights_without_numbers_are_listed_by_reason(capsys: Capture) -> None:
    unknown = (NotMeasured("a", "no numbers"), NotMeasured("b", "no numbers"), NotMeasured("c", "its shapes differ"))
    lines = shown(compared(unknown=unknown), capsys)
    assert lines[0] == "not measured: a (and 1 more): no numbers" and lines[1] == "not measured: c: its shapes differ"
    assert not any("error" in line for line in lines)


def test_two_quantizations_say_nothing_of_clipping(capsys: Capture) -> None:
    base = WeightErrors("m", (4, 4), "F8_E4M3 per-tensor", "F8_E4M3 per-channel", measured(0.03), base_is_exact=False)
    lines = shown(compared(base), capsys)
    (row,) = [line for line in lines if "m at" in line]
    assert row.split()[:4] == ["0.0300", "30.5", "-", "0"]
    assert not any("clipped:" in line or "rounding to E4M3" in line for line in lines)


def test_what_is_infinite(capsys: Capture) -> None:
    nothing = Measured(elements=4, error_squares=1.0, worst=WorstElement(0, 0, 0.0, 1.0), rows=2)
    lines = shown(compared(WeightErrors("m", (2, 2), "BF16", "F32", nothing)), capsys)
    assert [line.split()[:4] for line in lines if "m at" in line] == [["inf", "-", "-", "0"]]
    assert math.isinf(nothing.relative_error)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_width_from_60_columns_on(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(width=width, record=True, force_terminal=True, markup=False, highlight=False, soft_wrap=True)
    monkeypatch.setattr(comparison_text, "console", lambda: out)
    comparison = ckptkit.diff(REAL / "llama/bf16", REAL / "llama/llmcompressor-dynamic")
    show_comparison(comparison, 20)
    lines = out.export_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("errors"))
    table = lines[begin:-1]
    assert max(map(len, table)) <= width
    whole = " ".join(" ".join(table).split())
    assert all(f"{item.name} at [" in whole for item in comparison.errors.weights if comparison.errors)
