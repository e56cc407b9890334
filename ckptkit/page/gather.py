"""Gathering a page: every part from whatever makes it for the command line, the checkpoint read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ckptkit.checks.level import Level
from ckptkit.errors import CkptkitError
from ckptkit.formats import registry as formats
from ckptkit.page.document import Conversion, Page
from ckptkit.page.findings import group_findings
from ckptkit.page.tensors import tensor_table
from ckptkit.storage.traffic import unheard
from ckptkit.validation import Request, examine
from ckptkit.views.by_layer import Chart, Measurement, by_layer
from ckptkit.views.group_scales import group_scale_chart, modules_in_groups, scale_bytes
from ckptkit.views.inventory import inventory
from ckptkit.views.scale_ranges import scale_charts

if TYPE_CHECKING:
    from ckptkit.checks.context import Context
    from ckptkit.checks.full_scan import WeightScan
    from ckptkit.conversion.comparison import Comparison
    from ckptkit.formats.base import Format
    from ckptkit.storage.locate import PathLike
    from ckptkit.validation import Sizes, Words

SATURATED, ALL_ZERO, ERROR = "saturated share", "all-zero share", "relative error"


def report_page(
    path: PathLike,
    other: PathLike | None = None,
    *,
    level: Level | str | None = None,
    engines: Words = None,
    tensor_parallel: Sizes = None,
    to: str | None = None,
    isolated: bool = True,
    on_total: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Page:
    """Everything about a checkpoint in one document: what ``ckptkit report`` shows, and ``write_page`` writes.

    Beside ``other``, such as the checkpoint that this one was made of, weights are compared as by ``ckptkit.diff``.
    ``on_total`` gets the bytes that this takes, or a scan at level "full", and ``progress`` those just read. ``to`` is
    a format whose conversion is planned: that it is refused is part of the page. The other arguments are those of
    ``ckptkit.validate``.

    Raises UsageError and ContainerError when there is nothing to look at; beside ``other`` also what
    ``ckptkit.diff`` raises.
    """
    request = Request(
        level=level,
        engines=engines,
        tensor_parallel=tensor_parallel,
        matrix=True,
        skip_list=True,
        offers=True,
        isolated=isolated,
    )
    target = None if to is None else formats.by_name(to)
    total, read = on_total or unheard, progress or unheard
    context, validation = examine(path, request, on_scan=_counting(total, read))
    comparison = None if other is None else _compare(path, other, request, total, read)
    tensors = tensor_table(context.container.tensors.values())
    return Page(
        inventory=inventory(context.container, context.reading, scales=validation.level >= Level.SCALES),
        validation=validation,
        findings=group_findings(validation, tensors.names),
        tensors=tensors,
        charts=tuple(_charts(context, validation.level, comparison, total, read)),
        undrawn=_undrawn(context, validation.level),
        comparison=comparison,
        conversion=None if target is None else _convert(context, target),
    )


def _counting(on_total: Callable[[int], None], progress: Callable[[int], None]) -> Callable[[int, int], None]:
    """What a scan tells, for those who count: nothing is scanned when it says how much there is."""
    return lambda nbytes, total: progress(nbytes) if nbytes else on_total(total)


def _undrawn(context: Context, level: Level) -> int:
    """Modules whose scales would be drawn at level "full"."""
    return 0 if context.checkpoint is None or level is Level.FULL else len(modules_in_groups(context.checkpoint))


def _charts(
    context: Context,
    level: Level,
    comparison: Comparison | None,
    on_total: Callable[[int], None],
    progress: Callable[[int], None],
) -> Iterator[Chart]:
    """A chart for each thing that was measured."""
    checkpoint = context.checkpoint
    if comparison is not None and comparison.errors is not None:
        weights = comparison.errors.weights
        errors = (Measurement(w.name, w.measured.relative_error, w.measured.relative_error) for w in weights)
        yield from _drawn(by_layer(ERROR, errors))
    if checkpoint is None:
        return
    if level >= Level.SCALES:
        yield from scale_charts(checkpoint, context.scale_values)
    if level is Level.FULL:
        scans = context.weight_scans.values()
        yield from _drawn(by_layer(SATURATED, (_share(scan, scan.saturated_share) for scan in scans)))
        zero = ((scan, scan.zero_units / scan.units) for scan in scans if scan.units)
        yield from _drawn(by_layer(ALL_ZERO, (_share(scan, share) for scan, share in zero)))
        on_total(scale_bytes(checkpoint))
        yield from _drawn(group_scale_chart(checkpoint, progress))


def _share(scan: WeightScan, share: float) -> Measurement:
    return Measurement(scan.tensor.module, share, share)


def _drawn(chart: Chart) -> Iterator[Chart]:
    """A chart, unless there is nothing in it."""
    if chart.panels or chart.alone:
        yield chart


def _compare(
    path: PathLike,
    other: PathLike,
    request: Request,
    on_total: Callable[[int], None],
    progress: Callable[[int], None],
) -> Comparison:
    from ckptkit.conversion.diff import compare
    from ckptkit.conversion.diff_sides import diff_level, open_to_compare

    left, right = open_to_compare(other), open_to_compare(path)
    asked = request.level
    level = Level.of(asked, diff_level(left, right))
    if level is Level.FULL:
        on_total(left.container.data_bytes)
    return compare(left, right, progress, level)


def _convert(context: Context, target: Format) -> Conversion:
    from ckptkit.conversion.planner import make_plan
    from ckptkit.conversion.request import ConversionRequest

    try:
        context.container.raise_if_damaged()
        return Conversion(target.name, make_plan(context, ConversionRequest(target=target)))
    except CkptkitError as error:
        return Conversion(target.name, error)
