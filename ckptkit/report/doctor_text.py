"""What ``ckptkit doctor`` found, for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ckptkit.report.layout import paragraph, print_line
from ckptkit.report.sink import console, manner

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.doctor import Examination

_MARKS = {"ok": ("ok    ", "green"), "absent": ("absent", "dim"), "wrong": ("WRONG ", "bold red")}


def show(examination: Examination, *, out: Console | None = None) -> None:
    """Every check on a line, by group, with what to do where something is absent or wrong; quietly, what is wrong."""
    out = out or console()
    shown = [check for check in examination.checks if check.state.value == "wrong" or not manner().quiet]
    width = max((len(check.name) for check in shown), default=0)
    for group, checks in groupby(shown, key=lambda check: check.group):
        print_line(out, (group, "bold"))
        for check in checks:
            mark = _MARKS[check.state.value]
            way = (f"; {check.help}", "cyan") if check.help else ""
            paragraph(out, "  ", mark, f"  {check.name:{width}}  {check.found}", way, indent=width + 12)
