"""Ranges by layer in a terminal: one strip for each kind of module, on a logarithmic scale of its own.

On streams that can show it, a strip is drawn in Braille, whose characters have two columns of four dots; on others in
columns of ``#``. Below each strip stands its range in numbers, so that nothing depends on the drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.errors import plural
from ckptkit.report.layout import paragraph, print_line
from ckptkit.report.sink import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from ckptkit.views.by_layer import Chart, Panel

#: Columns of text beside a strip: the numbers of its scale.
_MARGIN = 10
#: Lines of a strip.
_HEIGHT = 3
#: Columns that one layer has at most: a model of two layers is no wall.
_WIDEST_LAYER = 4
_WIDEST = 120

#: The bits of a Braille character's dots: two columns, from top to bottom.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE = 0x2800


class _Cell(NamedTuple):
    """How finely a character can be drawn."""

    columns: int
    rows: int


def show_charts(charts: Iterable[Chart], out: Console | None = None) -> None:
    """Every chart, or that there is nothing to draw."""
    out = out or console()
    found = [chart for chart in charts if chart.panels]
    if not found:
        print_line(out, "nothing to draw: no scales by layer that ckptkit reads are stored here")
    for chart in found:
        _show_chart(out, chart)


def _show_chart(out: Console, chart: Chart) -> None:
    print_line(out)
    print_line(out, (f"{chart.measure} by layer", "bold"), (", logarithmic", "dim"))
    cell = _Cell(2, 4) if _can_show(out) else _Cell(1, 1)
    edge = "│" if cell.rows > 1 else "|"
    for panel in chart.panels:
        low, high = _ends(panel)
        print_line(out, f"  {panel.kind}")
        rows = draw(panel, (low, high), min(out.width, _WIDEST) - _MARGIN, cell)
        labels = (f"{high:.3g}", *[""] * (_HEIGHT - 2), f"{low:.3g}")
        for label, row in zip(labels, rows, strict=True):
            print_line(out, (f"{label:>{_MARGIN - 2}} {edge}", "dim"), (row.rstrip(), "cyan"))
        paragraph(out, (f"{'':{_MARGIN}}{_legend(panel)}", "dim"), indent=_MARGIN)
    for one in chart.alone:
        print_line(out, f"  {one.name}", (f" {one.low:.3g} to {one.high:.3g}", "dim"))
    if chart.omitted:
        print_line(out, (f"  {plural(chart.omitted, 'more kind')} of modules", "dim"))


def _ends(panel: Panel) -> tuple[float, float]:
    """What a strip reaches from and to: the range of its values, or where that is little a factor of two around it."""
    low, high = min(panel.low), max(panel.high)
    air = math.sqrt(max(1.0, 2 * low / high))
    return low / air, high * air


def _legend(panel: Panel) -> str:
    low, high = min(panel.low), max(panel.high)
    values = f"{low:.3g} to {high:.3g}" if low != high else f"{low:.3g}"
    first, last = panel.layers[0], panel.layers[-1]
    if first == last:
        return f"layer {first}: {values}"
    return f"layers {first} to {last}: {values}{f', highest in layer {panel.highest}' if low != high else ''}"


def draw(panel: Panel, ends: tuple[float, float], width: int, cell: tuple[int, int]) -> list[str]:
    """A strip as lines of at most ``width`` characters, drawn from the lowest to the highest value of each layer.

    ``ends`` are the values at the bottom and at the top, ``cell`` the columns and rows that one character can show.
    """
    columns, rows = cell
    dots = _HEIGHT * rows
    spans = _stretched(_spans(panel, ends, dots), width * columns)
    lines = []
    for line in range(_HEIGHT):
        characters = []
        for place in range(0, len(spans), columns):
            bits = 0
            for column, span in enumerate(spans[place : place + columns]):
                for row in range(rows):
                    height = dots - 1 - (line * rows + row)
                    if span is not None and span[0] <= height <= span[1]:
                        bits |= _DOTS[column][row] if rows > 1 else 1
            characters.append(chr(_BRAILLE + bits) if rows > 1 and bits else "#" if bits else " ")
        lines.append("".join(characters))
    return lines


#: The lowest and the highest dot of a column, counted from below; None where a layer has no such module.
_Span = tuple[int, int] | None


def _spans(panel: Panel, ends: tuple[float, float], dots: int) -> list[_Span]:
    """A span for each layer from the first to the last."""
    low, high = map(math.log, ends)

    def height(value: float) -> int:
        return round((math.log(value) - low) / (high - low) * (dots - 1))

    first = panel.layers[0]
    found: list[_Span] = [None] * (panel.layers[-1] - first + 1)
    for layer, least, most in zip(panel.layers, panel.low, panel.high, strict=True):
        found[layer - first] = (height(least), height(most))
    return found


def _stretched(spans: Sequence[_Span], columns: int) -> list[_Span]:
    """The spans over at most so many columns: each as often as fits, or neighbours as one."""
    if len(spans) <= columns:
        times = min(_WIDEST_LAYER, columns // len(spans))
        return [span for span in spans for _ in range(times)]
    found: list[_Span] = []
    for column in range(columns):
        begin, end = column * len(spans) // columns, (column + 1) * len(spans) // columns
        known = [span for span in spans[begin:end] if span is not None]
        found.append((min(low for low, _ in known), max(high for _, high in known)) if known else None)
    return found


def _can_show(out: Console) -> bool:
    """Whether the stream's encoding has Braille."""
    try:
        chr(_BRAILLE).encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
