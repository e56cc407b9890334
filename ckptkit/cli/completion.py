"""``ckptkit completion``."""

from __future__ import annotations

import click

from ckptkit.cli.command import Command, Word

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
@click.argument("shell", type=Word(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what sets completion up for a SHELL: commands, options, paths, formats, engines, rules and levels.

    A new shell completes; 'ckptkit doctor' says whether it is set up.
    """
    click.echo(script(context.find_root().command, shell))


def script(command: click.Command, shell: str) -> str:
    """What a shell is to source."""
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    class Fish(FishComplete):
        """Fish, told that only the first comma of an answer ends its type: values and what they mean have commas."""

        source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": Fish}
    return kinds[shell](command, {}, "ckptkit", "_CKPTKIT_COMPLETE").source()
