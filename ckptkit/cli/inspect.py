"""``ckptkit inspect``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, json_option
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.report import sink

if TYPE_CHECKING:
    from ckptkit.model.inventory import Inventory
    from ckptkit.storage.container import Container
    from ckptkit.storage.payload import TensorRef
    from ckptkit.views.by_layer import Chart


@click.command(
    "inspect",
    cls=Command,
    examples=[
        ("ckptkit inspect Llama-3.1-8B-FP8", "format, scheme in words, sizes, scales"),
        ("ckptkit inspect org/model --no-scales", "on the Hub, from headers alone"),
        ("ckptkit inspect models/* -q", "one line for each of many"),
    ],
)
@click.argument("paths", nargs=-1, required=True, type=CHECKPOINT, metavar="PATH...")
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@click.option("--scales/--no-scales", default=None, help="Read scale values. [default: unless PATH is remote]")
@click.option("--plot", is_flag=True, help="Draw the ranges of scales by layer, a strip for each kind of module.")
@json_option
def command(paths: tuple[str, ...], tensors: bool, scales: bool | None, plot: bool, as_json: bool) -> None:
    """Say what is in PATH: quantization in words, sizes, tensors by kind; of FP8 checkpoints modules and scales too.

    PATH need not be FP8: any folder with safetensors files is counted, and said to be what it is.

    Exit code 0: it was read, whatever it is. 2: it could not be read. What is wrong with it, ckptkit validate says.
    """
    from ckptkit import api
    from ckptkit.report import text
    from ckptkit.report.document import failure, stamped
    from ckptkit.report.progress import ByteProgress
    from ckptkit.storage.json_text import json_text

    if plot and as_json:
        raise UsageError("a plot is for people: give --plot or --json", help="ckptkit report --json has its numbers")
    if plot and scales is False:
        raise UsageError("a plot needs the values of scales", help="give --plot or --no-scales")
    several = len(paths) > 1
    documents: list[dict[str, Any]] = []
    failed = False
    for number, path in enumerate(paths):
        try:
            with ByteProgress(f"reading {path}", quiet=sink.manner().quiet):
                found, container = api.look(path, scales=plot or scales)
        except CkptkitError as error:
            if not several:
                raise
            text.show_error(error)
            documents.append(failure(path, error))
            failed = True
            continue
        listed = [*container.tensors.values()] if tensors and container is not None else []
        if as_json:
            whole = {**found.to_json(), **({"tensor_list": _listed(listed)} if tensors else {})}
            documents.append(stamped(whole, "summary"))
        else:
            _show(found, listed, gap=number > 0)
            if plot:
                _show_plot(container)
    if as_json:
        click.echo(json_text(documents if several else documents[0]))
    sys.exit(2 if failed else 0)


def _listed(tensors: Iterable[TensorRef]) -> list[dict[str, Any]]:
    return [
        {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "shard": t.shard, "bytes": t.nbytes} for t in tensors
    ]


def _show(found: Inventory, tensors: Sequence[TensorRef], *, gap: bool) -> None:
    """For people; with a blank line before it if it is not the first."""
    from ckptkit.report import inventory_text
    from ckptkit.report.layout import print_line

    if sink.manner().quiet:
        inventory_text.show_in_one_line(found)
    else:
        if gap:
            print_line(sink.console())
        inventory_text.show_inventory(found)
    if tensors:
        inventory_text.show_tensors(tensors)


def _show_plot(container: Container | None) -> None:
    """Draw the scales of a checkpoint, where there are some."""
    from ckptkit.formats.reading import Readable, read
    from ckptkit.report.plot_text import show_charts
    from ckptkit.views.group_scales import group_scale_chart
    from ckptkit.views.scale_ranges import read_values, scale_charts

    outcome = None if container is None else read(container)
    checkpoint = outcome.checkpoint if isinstance(outcome, Readable) else None
    charts: list[Chart] = []
    if checkpoint is not None:
        charts = [*scale_charts(checkpoint, read_values(checkpoint)), group_scale_chart(checkpoint)]
    show_charts([chart for chart in charts if chart.panels or chart.alone])
