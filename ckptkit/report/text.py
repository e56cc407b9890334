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
    from ckptkit.rules.engine import Report
    from ckptkit.rules.finding import Finding
    from ckptkit.storage.payload import TensorRef
    from ckptkit.summary import Summary

_COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
#: Findings of one rule beyond this many are counted, not shown.
_SHOWN_PER_RULE = 5


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


def show_report(report: Report) -> None:
    """Findings by rule, then one line that says how it stands."""
    out = console()
    by_rule: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_rule.setdefault(finding.code, []).append(finding)
    for findings in by_rule.values():
        for finding in findings[:_SHOWN_PER_RULE]:
            _show_finding(out, finding)
        if len(findings) > _SHOWN_PER_RULE:
            out.print(f"  [dim]... and {len(findings) - _SHOWN_PER_RULE} more {findings[0].code}[/]")
    counts = report.counts
    what = f"{report.format} ({report.dialect})" if report.format else "unknown format"
    looked_at = f"{plural(report.shards, 'shard')}, {plural(report.tensors, 'tensor')}, {what}"
    if not report.findings:
        out.print(f"[bold green]clean[/]: {report.label} [dim]({looked_at})[/]")
        return
    parts = ", ".join(
        plural(count, name) if name != "info" else f"{count} info" for name, count in counts.items() if count
    )
    colour = "green" if report.clean else "red" if counts["error"] else "yellow"
    out.print(f"[bold {colour}]{parts}[/]: {report.label} [dim]({looked_at})[/]")


def _show_finding(out: Console, finding: Finding) -> None:
    severity = finding.severity.value
    out.print(f"[{_COLOURS[severity]}]{severity}[/] [bold]{finding.code}[/] ", end="")
    place = ": ".join(part for part in (finding.file, finding.tensor) if part)
    out.print(f"{place}: {finding.message}" if place else finding.message, markup=False)
    for label, value in (("expected", finding.expected), ("found", finding.found), ("help", finding.help)):
        if value:
            out.print(f"    [dim]{label}:[/] ", end="")
            out.print(value, markup=False)


def show_plan(plan: Plan) -> None:
    """Where from, where to, what it costs, what changes, what to know."""
    out = console()
    cost = plan.cost
    out.print(f"[bold]{plan.source_format} → {plan.target_format}[/]  lossless, {cost.kind.value}")
    copied = f"{size(cost.copied)} copied as they are in {plural(cost.ranges, 'range')}"
    out.print(f"  {copied}, {size(cost.rewritten)} rewritten (headers, config), {size(cost.computed)} computed")
    if plan.steps:
        table = _table("operation", "count", "tensor", "becomes", "why")
        for step in plan.steps:
            operations = "+".join(operation.value for operation in step.operations)
            source, target = _tensor_words(step)
            table.add_row(operations, str(step.count), source, target, step.reason)
        out.print(table)
    out.print(f"  {plural(plan.changed, 'tensor')} changed in name, shape or type, {plan.kept:,} kept")
    for note in plan.notes:
        out.print("  [cyan]note[/]: ", end="")
        out.print(note, markup=False)


def _tensor_words(step: Step) -> tuple[str, str]:
    def words(name: str, dtype: str | None, shape: tuple[int, ...]) -> str:
        return f"{name} {dtype} {list(shape)}".replace("[", r"\[")

    source = words(step.source, step.source_dtype, step.source_shape)
    if step.target is None or step.target_shape is None:
        return source, "-"
    # Only what changes is repeated.
    name = step.target if step.target != step.source else ""
    return source, words(name, step.target_dtype, step.target_shape).strip()


def show_result(result: Result) -> None:
    """One line about a conversion that was carried out."""
    total = result.plan.cost.total
    means = ", ".join(f"{size(count)} by {method}" for method, count in result.moved.items())
    rate = f", {size(total / result.seconds)}/s" if result.seconds > 0.05 else ""
    console().print(
        f"[bold green]written[/]: {result.destination} [dim]({size(total)} in {result.seconds:.2f} s{rate}; {means})[/]"
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
    where = f"{plural(summary.tensors, 'tensor')} in {plural(summary.shards, 'shard')}"
    out.print(f"  size     {size(summary.data_bytes)} ({original}), {where}")
    out.print("  dtypes   " + ", ".join(f"{code} {size(count)}" for code, count in summary.dtypes.items()))
    for item in summary.scales:
        span = f"{item.minimum:.4g}" if item.minimum == item.maximum else f"{item.minimum:.4g} to {item.maximum:.4g}"
        out.print(f"  scales   {item.kind}: {plural(item.tensors, 'tensor')}, {span}")
    table = _table("count", "module", "shape", "scheme")
    for kind in summary.modules:
        table.add_row(str(kind.count), kind.name, str(list(kind.shape)).replace("[", r"\["), kind.scheme)
    out.print(table)


def show_tensors(tensors: Iterable[TensorRef]) -> None:
    """Every tensor, one a line."""
    table = _table("tensor", "dtype", "shape", "bytes", "shard")
    for tensor in tensors:
        shape = str(list(tensor.shape)).replace("[", r"\[")
        table.add_row(tensor.name, tensor.dtype, shape, f"{tensor.nbytes:,}", tensor.shard)
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
        out.print(f"[bold green]the same model[/]: every dequantized value is equal [dim]({compared})[/]")
    else:
        out.print(f"[bold red]{plural(len(comparison.differences), 'difference')}[/] [dim]({compared})[/]")


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=True, show_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("count", "bytes") else "left", overflow="fold")
    return table
