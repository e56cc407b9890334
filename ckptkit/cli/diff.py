"""``ckptkit diff``."""

from __future__ import annotations

import sys

import click

from ckptkit.cli.options import json_option, print_json


@click.command("diff")
@click.argument("left")
@click.argument("right")
@json_option
def command(left: str, right: str, as_json: bool) -> None:
    """Compare the checkpoints LEFT and RIGHT as models, whatever their formats.

    Scale shapes, names and dtypes do not count; every dequantized value does.
    Exit code 0: the same model. 1: differences. 2: could not run.
    """
    from ckptkit import api
    from ckptkit.conversion.diff import compare
    from ckptkit.report import text
    from ckptkit.report.progress import ByteProgress

    a, b = api.open(left), api.open(right)
    with ByteProgress("comparing", quiet=as_json) as progress:
        progress.start(a.container.data_bytes)
        comparison = compare(a, b, progress.advance)
    if as_json:
        print_json(comparison.to_json())
    else:
        text.show_comparison(comparison)
    sys.exit(0 if comparison.same else 1)
