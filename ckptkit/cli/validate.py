"""``ckptkit validate``."""

from __future__ import annotations

import sys

import click

from ckptkit.cli.options import json_option, print_json


@click.command("validate")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--level",
    default="scales",
    show_default=True,
    metavar="LEVEL",
    help="headers (config and headers only) or scales (scale values too).",
)
@json_option
def command(paths: tuple[str, ...], level: str, as_json: bool) -> None:
    """Check the checkpoints in PATH for everything that breaks engines.

    Exit code 0: clean. 1: errors or warnings. 2: could not run.
    """
    from ckptkit import api
    from ckptkit.report import text
    from ckptkit.report.data import report_to_json
    from ckptkit.rules.registry import Level

    wanted = Level.parse(level)
    reports = [api.validate(path, level=wanted) for path in paths]
    if as_json:
        documents = [report_to_json(report) for report in reports]
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        for report in reports:
            text.show_report(report)
    sys.exit(0 if all(report.clean for report in reports) else 1)
