"""``ckptkit report``."""

from __future__ import annotations

from typing import Any

import click

from ckptkit.checks.settings import PROJECT_KEYS, checked
from ckptkit.cli import completing
from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, json_option, print_json, telling, words_option
from ckptkit.errors import UsageError, printable
from ckptkit.report import sink

_LEVEL_HELP = (
    "How much is read: headers, scales or full, which is every byte. [default: scales, or headers if PATH is remote; "
    "beside OTHER every byte of two folders]"
)


@click.command(
    "report",
    cls=Command,
    examples=[
        ("ckptkit report Llama-3.1-8B-FP8 --html report.html", "a page to look at, in one file"),
        ("ckptkit report Llama-3.1-8B-FP8 Llama-3.1-8B --html errors.html", "with the error of each weight by layer"),
        ("ckptkit report Llama-3.1-8B-FP8 --to quark --html plan.html", "with the plan of a conversion"),
    ],
)
@click.argument("path", type=CHECKPOINT)
@click.argument("other", type=CHECKPOINT, required=False)
@click.option("--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write the page to FILE.")
@click.option("--level", metavar="LEVEL", envvar="CKPTKIT_LEVEL", shell_complete=completing.LEVELS, help=_LEVEL_HELP)
@click.option(
    "--for",
    "for",
    metavar="ENGINE",
    **words_option("FOR", completing.ENGINES),
    help="Only what hits vllm, sglang, trtllm, ...",
)
@click.option(
    "--tp",
    "--tensor-parallel",
    "tp",
    metavar="SIZES",
    envvar="CKPTKIT_TP",
    help="Tensor-parallel sizes for the engines: 1,2,4,8.",
)
@click.option(
    "--to",
    metavar="FORMAT",
    shell_complete=completing.FORMATS,
    help="Show the plan of a conversion to FORMAT, or why it is refused.",
)
@click.option("--isolated", is_flag=True, envvar="CKPTKIT_ISOLATED", help="Read no settings from files.")
@json_option
def command(
    path: str, other: str | None, html_file: str | None, to: str | None, isolated: bool, as_json: bool, **options: Any
) -> None:
    """Write a page to look at: everything about the checkpoint PATH in one HTML file that needs no network.

    Scheme, sizes, findings with their fixes, engines, skip lists, every tensor, and charts by layer: scales, with
    --level full saturated codes and rows of zeros, and beside OTHER, such as the checkpoint that PATH was made of, how
    far each weight is off. --json prints the same as one document.

    Exit code 0: the page is written, whatever it says. 2: it could not be. An older page in FILE is
    overwritten, a file that lies in a checkpoint never.
    """
    from ckptkit.page.gather import report_page
    from ckptkit.page.write import write_page
    from ckptkit.report.progress import ByteProgress
    from ckptkit.storage.output_file import check_output_file

    if html_file is None and not as_json:
        raise UsageError("a page has to go somewhere", help="give --html FILE, or --json")
    if html_file is not None:
        check_output_file(html_file)
    given = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in options.items() if value}
    with ByteProgress(f"reading {path}", quiet=sink.manner().quiet) as progress:
        page = report_page(
            path,
            other,
            to=to,
            **checked(given, "--", PROJECT_KEYS),
            isolated=isolated,
            on_total=progress.start,
            progress=progress.advance,
        )
    written = None if html_file is None else write_page(page, html_file)
    with telling(f"written: {html_file}"):
        if as_json:
            print_json(page.to_json(), "page")
        elif written is not None:
            from ckptkit.report.text import size

            click.echo(printable(f"written: {html_file} ({size(written)})"))
