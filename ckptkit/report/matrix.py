"""The engine matrix and the skip-list view, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckptkit.checks.runner import NO_FORMAT
from ckptkit.engines.registry import label_of
from ckptkit.errors import plural, printable
from ckptkit.report.layout import Cell, print_line, table
from ckptkit.report.text import console
from ckptkit.views.skip_table import grouped

if TYPE_CHECKING:
    from ckptkit.views.matrix import Matrix, MatrixRow
    from ckptkit.views.skip_table import SkipTable

_VERDICT_COLOURS: Mapping[str, str] = {
    "loads": "green",
    "slow": "yellow",
    "warns": "yellow",
    "silently wrong": "bold red",
    "refuses": "bold red",
    "unknown": "yellow",
}
_SHOWN_OBSTACLES = 3
_MARKS = {"quantized": "built", "left alone": "-", "refused": "refuses"}


def show_matrix(matrix: Matrix) -> None:
    """One line for each engine: verdict, the tensor-parallel sizes, and the rules behind the verdict."""
    out = console()
    where = f", on {matrix.gpu}" if matrix.gpu is not None else ""
    print_line(out, (matrix.label, "bold"), (f" ({matrix.format or matrix.unread or NO_FORMAT}{where})", "dim"))
    asked = any(row.parallel for row in matrix.rows)
    rows: list[list[Cell]] = []
    for row in matrix.rows:
        engine: Cell = [row.label, (f" {row.version}", "dim")]
        verdict: Cell = [(row.verdict, _VERDICT_COLOURS.get(row.verdict, "dim"))]
        rows.append([engine, verdict, *([_sizes(row)] if asked else []), _because(row)])
    headings = ("engine", "verdict", *(["tensor parallel"] if asked else []), "because of")
    table(out, headings, rows, prose=True)
    for (size, obstacle), labels in _obstacles(matrix).items():
        print_line(out, (f"  {size} devices ({', '.join(labels)}): ", "dim"), obstacle)


def _obstacles(matrix: Matrix) -> dict[tuple[int, str], list[str]]:
    """What stands in the way of each size, the first few things, and for which engines that work at some."""
    found: dict[tuple[int, str], list[str]] = {}
    for row in matrix.rows:
        for size in row.parallel if row.verdict != "refuses" else ():
            for obstacle in size.obstacles[:_SHOWN_OBSTACLES]:
                found.setdefault((size.size, obstacle), []).append(row.label)
    return dict(sorted(found.items(), key=lambda item: item[0][0]))


def _because(row: MatrixRow) -> Cell:
    if row.note:
        return [(row.note, "dim")]
    reasons = [f"{outcome}: {', '.join(codes)}" for outcome, codes in row.codes.items()]
    reasons += [f"{answer}: {part}" for answer, parts in row.parts.items() for part in parts]
    reasons += row.kernels if row.verdict == "loads" else ()
    return "; ".join(printable(reason) for reason in reasons)


def _sizes(row: MatrixRow) -> Cell:
    """The sizes that work and those that do not, with a blank between two; of what an engine refuses none works."""
    if row.verdict == "refuses":
        return [("none", "dim")] if row.parallel else ""
    words = [(f"{size.size}", "green") if size.works else (f"not {size.size}", "red") for size in row.parallel]
    return [part for word in words for part in (" ", word)][1:]


def show_skip_table(skips: SkipTable) -> None:
    """One line for each kind of module; decisions that contradict what is stored are red."""
    out = console()
    if not skips.rows:
        print_line(out, (skips.label, "bold"), ": no linear modules to judge")
        return
    print_line(out, (skips.label, "bold"), (f" ({skips.format})", "dim"))
    shown: list[list[Cell]] = []
    for (kind, stored, _), rows in grouped(skips).items():
        first = rows[0]
        marks: list[Cell] = []
        for engine in skips.engines:
            mark = _MARKS[first.decisions[engine]]
            marks.append([(mark, "bold red")] if engine in first.contradicts else mark)
        shown.append([str(len(rows)), kind if len(rows) > 1 else first.module, stored, *marks])
    table(out, ("count", "module", "stored", *map(label_of, skips.engines)), shown)
    print_line(out, ("  built: quantized; -: left in the stored type; refuses: fused parts that differ", "dim"))
    wrong = len(skips.contradictions)
    if wrong:
        print_line(out, (plural(wrong, "module"), "bold red"), " stored otherwise than an engine decides (red)")
    else:
        print_line(out, ("every engine's decision fits what is stored", "green"))
