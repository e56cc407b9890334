"""``ckptkit help``."""

from __future__ import annotations

import click

from ckptkit.cli.command import Command


@click.command("help", cls=Command, examples=[("ckptkit help convert", "everything about one command")])
@click.argument("words", nargs=-1, metavar="[COMMAND...]")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a COMMAND, as 'ckptkit COMMAND --help' does; without one, of ckptkit."""
    above = context.find_root()
    shown: click.Command = above.command
    for word in words:
        if not isinstance(shown, click.Group):
            break
        name, found, _ = shown.resolve_command(above, [word])
        if found is not None:
            shown, above = found, click.Context(found, parent=above, info_name=name)
    click.echo(shown.get_help(above))
