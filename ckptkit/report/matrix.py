"""The engine matrix and the skip-list view, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.engines.effects import ENGINES
from ckptkit.report.text import console, plural
from ckptkit.rules.skip_lists import grouped

if TYPE_CHECKING:
    from ckptkit.rules.matrix import Matrix, MatrixRow
    from ckptkit.rules.skip_lists import SkipTable

_VERDICT_COLOURS: Mapping[str, str] = {
    "loads": "green",
    "slow": "yellow",
    "warns": "yellow",
    "silently wrong": "bold red",
    "refuses": "bold red",
}
_SHOWN_OBSTACLES = 3
_MARKS = {"quantized": "FP8", "left alone": "-", "refused": "refuses"}


def show_matrix(matrix: Matrix) -> None:
    """One line for each engine: verdict, the rules behind it, and the tensor-parallel sizes."""
    out = console()
    out.print(f"[bold]{matrix.label}[/] [dim]({matrix.format or 'unknown format'})[/]", soft_wrap=True)
    asked = any(row.parallel for row in matrix.rows)
    table = _table("engine", "verdict", "because of", *(["tensor parallel"] if asked else []))
    for row in matrix.rows:
        colour = _VERDICT_COLOURS.get(row.verdict, "dim")
        cells = [f"{row.label} [dim]{row.version}[/]", f"[{colour}]{row.verdict}[/]", _because(row)]
        table.add_row(*cells, *([_sizes(row)] if asked else []))
    out.print(table)
    for (size, obstacle), labels in _obstacles(matrix).items():
        out.print(f"  [dim]{size} devices ({', '.join(labels)}):[/] ", end="")
        out.print(obstacle, markup=False)


def _obstacles(matrix: Matrix) -> dict[tuple[int, str], list[str]]:
    """What stands in the way of each size, the first few things, and for which engines."""
    found: dict[tuple[int, str], list[str]] = {}
    for row in matrix.rows:
        for size in row.parallel:
            for obstacle in size.obstacles[:_SHOWN_OBSTACLES]:
                found.setdefault((size.size, obstacle), []).append(row.label)
    return dict(sorted(found.items(), key=lambda item: item[0][0]))


def _because(row: MatrixRow) -> str:
    if row.note:
        return f"[dim]{row.note}[/]"
    return "; ".join(f"{outcome}: {', '.join(codes)}" for outcome, codes in row.codes.items())


def _sizes(row: MatrixRow) -> str:
    return " ".join(f"[green]{size.size}[/]" if size.works else f"[red]not {size.size}[/]" for size in row.parallel)


def show_skip_table(table: SkipTable) -> None:
    """One line for each kind of module; decisions that contradict what is stored are red."""
    out = console()
    if not table.rows:
        out.print(f"[bold]{table.label}[/]: no linear modules to judge", soft_wrap=True)
        return
    out.print(f"[bold]{table.label}[/] [dim]({table.format})[/]", soft_wrap=True)
    shown = _table("count", "module", "stored", *(ENGINES[engine].label for engine in table.engines))
    for (kind, stored, _), rows in grouped(table).items():
        first = rows[0]
        cells = []
        for engine in table.engines:
            mark = _MARKS[first.decisions[engine]]
            cells.append(f"[bold red]{mark}[/]" if engine in first.contradicts else mark)
        shown.add_row(str(len(rows)), kind if len(rows) > 1 else first.module, stored, *cells)
    out.print(shown)
    wrong = len(table.contradictions)
    if wrong:
        out.print(f"[bold red]{plural(wrong, 'module')}[/] stored otherwise than an engine decides (red)")
    else:
        out.print("[green]every engine's decision fits what is stored[/]")


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=True, show_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "count" else "left", overflow="fold")
    return table
