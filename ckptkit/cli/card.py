"""``ckptkit card``."""

from __future__ import annotations

import sys

import click

from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, tell
from ckptkit.errors import UsageError, place, printable_line


@click.command(
    "card",
    cls=Command,
    finds=True,
    examples=[
        ("ckptkit card Llama-3.1-8B-FP8 --print", "look at the card first"),
        ("ckptkit card Llama-3.1-8B-FP8 --base-model org/Llama-3.1-8B", "write it, with where the model comes from"),
        ("ckptkit card Llama-3.1-8B-FP8 --check", "in CI: exit with 1 if it is stale or untrue"),
    ],
)
@click.argument("path", type=CHECKPOINT)
@click.option("--repo", metavar="ORG/REPO", help="The name to serve it by. [default: the folder's name]")
@click.option("--base-model", metavar="ORG/REPO", help="The model that was quantized.")
@click.option("--converted-from", metavar="TEXT", help="The checkpoint that this one was converted from.")
@click.option("--print", "print_only", is_flag=True, help="Print the card instead of writing it.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the card is missing, stale or untrue.")
def command(
    path: str, repo: str | None, base_model: str | None, converted_from: str | None, print_only: bool, check: bool
) -> None:
    """Write or update the quantization section and the metadata of README.md in the checkpoint folder PATH.

    Scheme, scale shapes, layers left alone, KV cache and sizes are read off the tensors. All other text and
    metadata stay as they are; a second run changes nothing.
    """
    if print_only and check:
        raise UsageError("--print prints the card and --check judges it: give one of them")
    from ckptkit import api
    from ckptkit.report.layout import print_line
    from ckptkit.report.text import console

    card = api.model_card(path, repo=repo, base_model=base_model, converted_from=converted_from)
    if print_only:
        # A file or a program gets the very bytes; a terminal is not to be steered by what somebody wrote into a card.
        lines = card.after.splitlines(keepends=True)
        shown = "".join(map(printable_line, lines)) if sys.stdout.isatty() else card.after
        click.echo(shown, nl=False)
        return
    if check:
        for fault in card.untrue:
            print_line(console(), str(fault))
        if not card.untrue:
            state = "missing" if card.before is None else "not up to date" if card.changed else "up to date"
            print_line(console(), f"{place(str(card.path))}: {state}")
        sys.exit(1 if card.changed or card.untrue else 0)
    api.write_card(card)
    tell(f"{'written' if card.changed else 'unchanged'}: {card.path}")
