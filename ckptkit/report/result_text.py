"""What a conversion wrote, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.report.comparison_text import show_errors
from ckptkit.report.layout import print_line
from ckptkit.report.text import console, size

if TYPE_CHECKING:
    from ckptkit.conversion.execute import Result


def show_result(result: Result) -> None:
    """One line about a conversion that was carried out, and how far values are off where they were rounded again."""
    total = result.plan.cost.total
    means = "; ".join(["", *(f"{size(count)} by {method}" for method, count in result.moved.items())])
    rate = f", {size(total / result.seconds)}/s" if result.seconds > 0.05 else ""
    cost = f" ({size(total)} in {result.seconds:.2f} s{rate}{means})"
    out = console()
    print_line(out, ("written", "bold green"), f": {result.destination}", (cost, "dim"))
    if result.errors is not None:
        show_errors(out, result.errors)
