"""``ckptkit diff``."""

from __future__ import annotations

import sys

import click

from ckptkit.cli.command import Command, Word
from ckptkit.cli.options import CHECKPOINT, json_option, print_json, read_plan
from ckptkit.report import sink


@click.command(
    "diff",
    cls=Command,
    finds=True,
    examples=[
        ("ckptkit diff Llama-3.1-8B-FP8-KV out", "is it the same model after a conversion?"),
        ("ckptkit diff Llama-3.1-8B Llama-3.1-8B-FP8 --limit 20", "how far each weight is off its base"),
    ],
)
@click.argument("left", type=CHECKPOINT)
@click.argument("right", type=CHECKPOINT)
@click.option(
    "--level",
    type=Word(("headers", "scales", "full")),
    envvar="CKPTKIT_LEVEL",
    help="How much is compared: names, shapes and schemes; scale values too; every byte. "
    "[default: full, or scales if one is remote]",
)
@click.option("--plan", "plan_file", metavar="FILE", help="The plan by which RIGHT was made; what it says is allowed.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Show the N worst weights. [default: 10]")
@click.option("--all", "show_all", is_flag=True, help="Show every weight whose values differ.")
@json_option
def command(
    left: str, right: str, level: str | None, plan_file: str | None, limit: int | None, show_all: bool, as_json: bool
) -> None:
    """Compare the checkpoints LEFT and RIGHT as models, whatever their formats.

    Scale shapes, names and dtypes do not count; every dequantized value does. Of remote checkpoints (hf://org/repo
    and other URLs) headers and scales are compared, and the weights are not fetched.

    Where values differ, a table says by how much, the worst weights first: relative error, SNR, clipped codes, dead
    rows. So compare a quantized checkpoint with the BF16, F16 or F32 one that it was made of, or with another
    quantization of the same model. The base is the one that is not quantized, else LEFT.

    Exit code 0: the same model. 1: differences. 2: could not run.
    """
    from ckptkit import api
    from ckptkit.checks.registry import Level
    from ckptkit.conversion.diff_sides import diff_level, open_to_compare
    from ckptkit.report.comparison_text import SHOWN_WEIGHTS, show_comparison, show_verdict
    from ckptkit.report.progress import ByteProgress

    plan = None if plan_file is None else read_plan(plan_file)
    with ByteProgress("comparing", quiet=sink.manner().quiet) as progress:
        a, b = open_to_compare(left), open_to_compare(right)
        wanted = Level.of(level, diff_level(a, b))
        progress.start(a.container.data_bytes if wanted is Level.FULL else 0)
        comparison = api.diff(a, b, level=wanted, plan=plan, progress=progress.advance)
    if as_json:
        print_json(comparison.to_json(), "comparison")
    elif sink.manner().quiet:
        show_verdict(sink.console(), comparison)
    else:
        everything = show_all or sink.manner().verbose
        show_comparison(comparison, None if everything else SHOWN_WEIGHTS if limit is None else limit)
    sys.exit(0 if comparison.same else 1)
