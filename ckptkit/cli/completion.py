"""``ckptkit completion``."""

from __future__ import annotations

import click

from ckptkit.cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Command,
    examples=[
        ("ckptkit completion bash >> ~/.bashrc", "for bash 4.4 and later"),
        ("ckptkit completion zsh >> ~/.zshrc", "for zsh, after compinit"),
        ("ckptkit completion fish > ~/.config/fish/completions/ckptkit.fish", "for fish"),
    ],
)
@click.argument("shell", type=click.Choice(SHELLS, case_sensitive=False))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what sets completion up for a SHELL: commands, options, paths, formats, engines, rules and levels.

    A new shell completes; 'ckptkit doctor' says whether it is set up.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(context.find_root().command, {}, "ckptkit", "_CKPTKIT_COMPLETE").source())
