"""``ckptkit version``."""

from __future__ import annotations

import click

from ckptkit import __version__
from ckptkit.cli.command import Command


@click.command("version", cls=Command, examples=[("ckptkit version", "the same as ckptkit --version")])
def command() -> None:
    """Show the version. 'ckptkit doctor' shows what it runs on."""
    click.echo(f"ckptkit, version {__version__}")
