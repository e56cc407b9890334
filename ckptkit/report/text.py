"""Text for people, coloured on terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ckptkit.errors import CkptkitError, Fault

if TYPE_CHECKING:
    from rich.console import Console

    from ckptkit.conversion.diff import Comparison
    from ckptkit.conversion.execute import Result
    from ckptkit.conversion.plan import Plan, Step
    from ckptkit.storage.payload import TensorRef
    from ckptkit.storage.traffic import Traffic
    from ckptkit.summary import Summary


@lru_cache(maxsize=2)
def console(*, stderr: bool = False) -> Console:
    """The one console for standard output, and the one for standard error."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 120
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def size(nbytes: float) -> str:
    """Bytes for people.

    >>> size(8_540_000_000), size(512)
    ('7.95 GiB', '512 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} TiB"


def plural(count: int, word: str) -> str:
    """
    >>> plural(1, "shard"), plural(2, "shard")
    ('1 shard', '2 shards')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def traffic_words(traffic: Traffic | None) -> str:
    """What a remote checkpoint cost to read, for the end of a list; nothing for a folder.

    >>> from ckptkit.storage.traffic import Traffic
    >>> traffic_words(Traffic(9, 150_000))
    ', 9 requests, 146 KiB fetched'
    """
    return f", {plural(traffic.requests, 'request')}, {size(traffic.nbytes)} fetched" if traffic else ""


def show_error(error: CkptkitError) -> None:
    """An error on standard error: one sentence, then every fault, then what to do."""
    out = console(stderr=True)
    out.print("[bold red]error[/]: ", end="")
    out.print(error.message, markup=False)
    for fault in error.faults:
        _show_fault(out, fault)
    if error.help:
        out.print("  help: ", style="bold cyan", end="")
        out.print(error.help, markup=False)


def _show_fault(out: Console, fault: Fault) -> None:
    place = ": ".join(part for part in (fault.file, fault.tensor) if part)
    out.print(f"  {place}: {fault.message}" if place else f"  {fault.message}", markup=False)
    for label, value in (("expected", fault.expected), ("found", fault.found), ("help", fault.help)):
        if value:
            out.print(f"    [dim]{label}:[/] ", end="")
            out.print(value, markup=False)


def show_plan(plan: Plan) -> None:
    """Where from, where to, what it costs, what changes, what to know."""
    out = console()
    cost = plan.cost
    out.print(f"[bold]{plan.source_format} → {plan.target_format}[/]  lossless, {cost.kind.value}")
    parts = [f"{size(cost.copied)} copied as they are", f"{size(cost.rewritten)} rewritten (headers, config)"]
    if cost.computed:
        parts.append(f"{size(cost.computed)} computed")
    out.print(f"  {', '.join(parts)}, {plural(cost.files, 'file')}")
    if plan.steps:
        table = _table("operation", "count", "tensor", "becomes", "why")
        for row in plan_rows(plan.steps):
            table.add_row(*(escape(cell) for cell in row))
        out.print(table)
    out.print(f"  {plural(plan.changed, 'tensor')} changed in name, shape or type; {plan.kept:,} kept as they are")
    for note in plan.notes:
        out.print("  [cyan]note[/]: ", end="")
        out.print(note, markup=False)


def plan_rows(steps: Iterable[Step]) -> list[tuple[str, str, str, str, str]]:
    """The steps of a plan in few lines: those that keep their tensors' names are merged by the name's last part."""
    groups: dict[tuple[str, str, str, str | None], list[Step]] = {}
    for step in steps:
        operations = "+".join(operation.value for operation in step.operations)
        renamed = step.target != step.source
        source, target = _short_names(step.source, step.target)
        groups.setdefault((operations, step.reason, source, target if renamed else None), []).append(step)
    rows = []
    for (operations, reason, source, target), members in groups.items():
        before = f"{source} {_types(step.source_dtype for step in members)} {_shapes(s.source_shape for s in members)}"
        shapes = [step.target_shape for step in members if step.target_shape is not None]
        after = "-"
        if shapes:
            after = f"{target or ''} {_types(str(s.target_dtype) for s in members)} {_shapes(shapes)}".strip()
        rows.append((operations, f"{sum(step.count for step in members):,}", before, after, reason))
    return rows


def _short_names(source: str, target: str | None) -> tuple[str, str | None]:
    """Names without the owners that they share, and of a kept name only its last part.

    >>> _short_names("model.layers.*.self_attn.k_proj.output_scale", "model.layers.*.self_attn.k_scale")
    ('*.k_proj.output_scale', '*.k_scale')
    """
    if target is None or source == target:
        return f"*.{source.rpartition('.')[2]}", target
    left, right = source.split("."), target.split(".")
    shared = next(i for i, (a, b) in enumerate(zip([*left, ""], [*right, ""], strict=False)) if a != b)
    return f"*.{'.'.join(left[shared:])}", f"*.{'.'.join(right[shared:])}"


def _types(dtypes: Iterable[str]) -> str:
    return "/".join(dict.fromkeys(dtypes))


def _shapes(shapes: Iterable[tuple[int, ...]]) -> str:
    """One shape for many: extents that differ become letters.

    >>> _shapes([(64, 1), (64, 1)]), _shapes([(64, 1), (96, 1)])
    ('[64, 1]', '[N, 1]')
    """
    unique = list(dict.fromkeys(shapes))
    if len({len(shape) for shape in unique}) != 1:
        return "[...]"
    letters = iter("NKLM")
    extents = [str(axis[0]) if len(set(axis)) == 1 else next(letters) for axis in zip(*unique, strict=True)]
    return f"[{', '.join(extents)}]"


def show_result(result: Result) -> None:
    """One line about a conversion that was carried out."""
    total = result.plan.cost.total
    means = "; ".join(["", *(f"{size(count)} by {method}" for method, count in result.moved.items())])
    rate = f", {size(total / result.seconds)}/s" if result.seconds > 0.05 else ""
    console().print(
        f"[bold green]written[/]: {result.destination} [dim]({size(total)} in {result.seconds:.2f} s{rate}{means})[/]"
    )


def show_summary(summary: Summary) -> None:
    """What a person wants to see first."""
    out = console()
    out.print(f"[bold]{summary.label}[/]", soft_wrap=True)
    out.print(
        f"  format   {summary.format} ({summary.dialect})"
        + (f", {summary.architecture}" if summary.architecture else "")
    )
    out.print(f"  scheme   [bold]{summary.scheme}[/]")
    original = f"{size(summary.original_bytes)} in 16 bits, ratio {summary.ratio:.2f}"
    where = f"{plural(summary.tensors, 'tensor')} in {plural(summary.shards, 'shard')}{traffic_words(summary.traffic)}"
    out.print(f"  size     {size(summary.data_bytes)} ({original}), {where}")
    out.print("  dtypes   " + ", ".join(f"{code} {size(count)}" for code, count in summary.dtypes.items()))
    for item in summary.scales:
        span = f"{item.minimum:.4g}" if item.minimum == item.maximum else f"{item.minimum:.4g} to {item.maximum:.4g}"
        out.print(f"  scales   {item.kind}: {plural(item.tensors, 'tensor')}, {span}")
    table = _table("count", "module", "shape", "scheme")
    for kind in summary.modules:
        table.add_row(str(kind.count), kind.name, escape(str(list(kind.shape))), kind.scheme)
    out.print(table)


def show_tensors(tensors: Iterable[TensorRef]) -> None:
    """Every tensor, one a line."""
    table = _table("tensor", "dtype", "shape", "bytes", "shard")
    for tensor in tensors:
        table.add_row(tensor.name, tensor.dtype, escape(str(list(tensor.shape))), f"{tensor.nbytes:,}", tensor.shard)
    console().print(table)


def show_comparison(comparison: Comparison) -> None:
    """The same model or not, and every difference."""
    out = console()
    for difference in comparison.differences:
        out.print(f"[bold red]differs[/] {difference.subject}: {difference.aspect}", highlight=False)
        out.print(f"    [dim]left:[/]  {difference.left}")
        out.print(f"    [dim]right:[/] {difference.right}")
    compared = f"{plural(comparison.modules, 'quantized module')}, {plural(comparison.tensors, 'other tensor')}, "
    compared += f"{size(comparison.bytes_compared)} compared"
    if comparison.same:
        proven = "every dequantized value is equal"
        if comparison.level.name != "FULL":
            what = "headers and scales" if comparison.level.name == "SCALES" else "headers"
            proven = f"{what} are equal; the weights were not compared"
        out.print(f"[bold green]the same model[/]: {proven} [dim]({compared})[/]")
    else:
        out.print(f"[bold red]{plural(len(comparison.differences), 'difference')}[/] [dim]({compared})[/]")


def escape(text: str) -> str:
    """Text that rich must not read as markup."""
    return text.replace("[", r"\[")


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=True, show_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("count", "bytes") else "left", overflow="fold")
    return table
