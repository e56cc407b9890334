"""What differs between two checkpoints and how far they are apart, for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckptkit.errors import plural
from ckptkit.model import names
from ckptkit.report.layout import Cell, Part, paragraph, print_line, table
from ckptkit.report.text import console, size

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.conversion.comparison import Comparison, Difference, Errors, WeightErrors
    from ckptkit.measure.errors import Measured

#: Kinds of differences beyond this many are counted, not shown.
_SHOWN_KINDS = 12
#: How many weights are shown, unless somebody asks for more.
SHOWN_WEIGHTS = 10
#: From which relative error on a figure is coloured, the worst first.
_COLOURS = ((0.1, "bold red"), (0.05, "bold yellow"))
_HEADINGS = ("error", "SNR dB", "clipped", "dead rows")


def show_comparison(comparison: Comparison, limit: int | None = SHOWN_WEIGHTS) -> None:
    """The same model or not, every kind of difference with its first example, and how far values are off.

    ``limit``: how many weights are shown, the worst first; None shows all.
    """
    out = console()
    differences = not_told_by(comparison.errors, comparison.differences)
    kinds = kinds_of(differences)
    for alike in kinds[:_SHOWN_KINDS]:
        first = alike[0]
        more = f" (and {len(alike) - 1:,} like it)" if len(alike) > 1 else ""
        print_line(out, ("differs", "bold red"), f" {first.subject}: {first.aspect}", (more, "dim"))
        print_line(out, ("    left:  ", "dim"), first.left)
        print_line(out, ("    right: ", "dim"), first.right)
    hidden = sum(len(alike) for alike in kinds[_SHOWN_KINDS:])
    if hidden:
        print_line(
            out,
            (f"    ... and {hidden:,} more of {plural(len(kinds) - _SHOWN_KINDS, 'kind')}; --json lists all", "dim"),
        )
    if comparison.errors is not None:
        show_errors(out, comparison.errors, limit)
    elif comparison.differences and comparison.level.name != "FULL":
        print_line(out, ("the weights were not compared; --level full says how far they are off", "dim"))
    for note in comparison.notes:
        print_line(out, ("note:", "bold blue"), f" {note}")
    show_verdict(out, comparison)


def show_verdict(out: Console, comparison: Comparison) -> None:
    """The same model or not, and what was compared, in one line."""
    compared = f"{plural(comparison.modules, 'quantized module')}, {plural(comparison.tensors, 'other tensor')}, "
    compared += f"{size(comparison.bytes_compared)} compared"
    if comparison.same:
        proven = "every dequantized value is equal"
        if comparison.level.name != "FULL":
            what = "headers and scales" if comparison.level.name == "SCALES" else "headers"
            proven = f"{what} are equal; the weights were not compared"
        print_line(out, ("the same model", "bold green"), f": {proven} ", (f"({compared})", "dim"))
    else:
        print_line(out, (plural(len(comparison.differences), "difference"), "bold red"), " ", (f"({compared})", "dim"))


def show_errors(out: Console, errors: Errors, limit: int | None = SHOWN_WEIGHTS) -> None:
    """Kinds of weights, then single ones, the worst first."""
    for reason, own in by_reason(errors).items():
        more = f" (and {len(own) - 1:,} more)" if len(own) > 1 else ""
        paragraph(out, ("not measured", "bold yellow"), f": {own[0]}{more}: {reason}", indent=4)
    if not errors.weights:
        return
    left, right = ("right", "left") if errors.base == "right" else ("left", "right")
    paragraph(out, ("errors", "bold"), f" of the {right} one, with the {left} one as the base:", indent=4)
    kinds = errors.kinds
    if len(kinds) < len(errors.weights):
        rows = [
            [*_figures(k.measured, k.clipped_share), f"{k.weights:,}", [k.kind, *_not_finite(k.measured)]]
            for k in kinds
        ]
        table(out, (*_HEADINGS, "count", "kind of weight"), rows, prose=True)
    shown = errors.weights[:limit]
    if shown:
        rows = [[*_figures(w.measured, w.clipped_share), _words(w)] for w in shown]
        table(out, (*_HEADINGS, "weight, the worst first"), rows, prose=True)
    hidden = len(errors.weights) - len(shown)
    if hidden:
        print_line(out, (f"    ... and {plural(hidden, 'weight')} more; --all shows them, --json too", "dim"))
    total = errors.total
    paragraph(
        out,
        f"in all {plural(len(errors.weights), 'weight')}: error {_number(total.relative_error)}, "
        f"SNR {_decibels(total)} dB; {errors.equal:,} others are equal",
    )
    paragraph(out, (_legend(errors), "dim"))


def _legend(errors: Errors) -> str:
    words = "error: the norm of the difference over that of the base"
    if all(weight.base_is_exact and weight.other.startswith("F8_E4M3") for weight in errors.weights):
        words += "; rounding to E4M3 alone makes about 0.026, 32 dB"
    if any(weight.clipped_share is not None for weight in errors.weights):
        words += ". clipped: codes at the end of the range with a base beyond it"
    return f"{words}. dead rows: zero, and not in the base"


def by_reason(errors: Errors) -> dict[str, list[str]]:
    """The weights that were not measured, by why."""
    found: dict[str, list[str]] = {}
    for item in errors.not_measured:
        found.setdefault(item.reason, []).append(item.name)
    return found


def _figures(measured: Measured, clipped: float | None) -> list[Cell]:
    error = measured.relative_error
    style = next((colour for limit, colour in _COLOURS if error >= limit), "")
    cells: list[Part] = [
        (_number(error), style),
        _decibels(measured),
        "-" if clipped is None else _percent(clipped),
        (f"{measured.dead_rows:,}", "bold red" if measured.dead_rows else ""),
    ]
    return [[cell] for cell in cells]


def _words(weight: WeightErrors) -> list[Part]:
    """A weight's name, where it is furthest off, and what is no number there."""
    parts: list[Part] = [weight.name]
    worst = weight.measured.worst
    if worst is not None:
        place = ",".join(map(str, weight.place))
        parts.append((f" at [{place}] {worst.reference:.4g} → {worst.result:.4g}", "dim"))
    return [*parts, *_not_finite(weight.measured)]


def _not_finite(measured: Measured) -> list[Part]:
    return [(f", {plural(measured.not_finite, 'element')} not finite", "bold red")] if measured.not_finite else []


def _number(value: float) -> str:
    """
    >>> _number(0.02637), _number(0.03), _number(1.5e-7), _number(math.inf)
    ('0.0264', '0.0300', '1.50e-07', 'inf')
    """
    return f"{value:#.3g}"


def _decibels(measured: Measured) -> str:
    return f"{measured.snr_db:.1f}" if math.isfinite(measured.snr_db) else "-"


def _percent(share: float) -> str:
    """
    >>> _percent(0.0), _percent(0.000123), _percent(0.25)
    ('0', '0.012%', '25%')
    """
    return f"{100 * share:.2g}%" if share else "0"


def not_told_by(errors: Errors | None, differences: Iterable[Difference]) -> list[Difference]:
    """The differences that a table of errors does not show: all but those of values and scales of what it measures."""
    if errors is None:
        return [*differences]
    measured = {name for weight in errors.weights for name in (weight.name, f"{weight.name}.weight")}
    told = ("values", "dequantized weight", "weight scale")
    return [item for item in differences if item.subject not in measured or not item.aspect.startswith(told)]


def kinds_of(differences: Iterable[Difference]) -> list[list[Difference]]:
    """Differences together that are the same one in several layers or experts; values that differ count as one kind.

    Of schemes only what they are counts, since those of many kinds of modules change together.
    """
    grouped: dict[tuple[str, ...], list[Difference]] = {}
    for difference in differences:
        kind, comma, _ = difference.aspect.partition(", the first at ")
        sides = () if comma else (difference.left, difference.right)
        subject = "" if kind == "scheme" else names.generalise(difference.subject)
        grouped.setdefault((subject, kind, *sides), []).append(difference)
    return list(grouped.values())
