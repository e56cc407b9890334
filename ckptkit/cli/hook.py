"""``ckptkit hook``: the git pre-push hook, the check that pre-commit runs, and ``hf ckptkit``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptkit.cli.command import Group
from ckptkit.cli.options import tell

if TYPE_CHECKING:
    from ckptkit.hub.hooks import Judged

_REPO = click.argument("repo", type=click.Path(path_type=Path), default=".", metavar="[REPO]")


@click.group("hook", cls=Group)
def command() -> None:
    """Keep broken FP8 checkpoints out of git, and make 'hf ckptkit' work."""


@command.command("install", examples=[("ckptkit hook install", "guard the git clone you are in")])
@_REPO
def install(repo: Path) -> None:
    """Put a pre-push hook into the git clone REPO; a hook that is there already is kept and run afterwards."""
    from ckptkit.hub import hooks

    tell(f"installed: {hooks.install(repo)}")


@command.command("uninstall", examples=[("ckptkit hook uninstall", "and put back what was there before")])
@_REPO
def uninstall(repo: Path) -> None:
    """Remove the pre-push hook from the git clone REPO, and put back the one that was there before."""
    from ckptkit.hub import hooks

    tell(f"removed: {hooks.uninstall(repo)}")


@command.command("pre-push", hidden=True)
@click.argument("arguments", nargs=-1)
def pre_push(arguments: tuple[str, ...]) -> None:
    """Check a push: git calls this with its refs on standard input."""
    from ckptkit.hub import hooks
    from ckptkit.hub.git import GitRepository

    verdicts = hooks.pre_push(GitRepository.at(Path.cwd()), sys.stdin)
    _exit("push refused", verdicts, "'git push --no-verify' pushes it all the same")


@command.command(
    "check",
    finds=True,
    examples=[("ckptkit hook check Llama-3.1-8B-FP8/model.safetensors", "as pre-commit calls it")],
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check the checkpoints that FILES belong to; LFS pointers stand for their content. pre-commit calls this.

    Exit code 0: sound, or nothing to judge. 1: broken. 2: could not run.
    """
    from ckptkit.hub.hooks import check_files

    _exit("refused", check_files(files), "'git commit --no-verify' commits it all the same")


@command.command("hf", examples=[("ckptkit hook hf", "from now on 'hf ckptkit validate ...' works")])
@click.option("--remove", is_flag=True, help="Forget it again.")
def extension(remove: bool) -> None:
    """Register this installation with the hub library's command, so that 'hf ckptkit ...' runs it."""
    from ckptkit.hub import extension as hf

    tell(f"removed: {hf.unregister()}" if remove else f"registered: {hf.register()}")


def _exit(word: str, verdicts: Iterable[Judged], way_past: str) -> None:
    """Show what was found on standard error, with the ways out; exit code 1 when it includes an error."""
    from ckptkit.checks.registry import way_to_fix
    from ckptkit.errors import UploadRefused, plural
    from ckptkit.report.layout import print_line
    from ckptkit.report.text import console, show_error

    refused = False
    for verdict in verdicts:
        if verdict.unresolved:
            names = ", ".join(verdict.unresolved)
            print_line(console(stderr=True), f"not checked, the content is not on this machine: {names}")
        if verdict.errors:
            refused = True
            count = plural(len(verdict.errors), "error")
            message = f"{word}: {verdict.label}: the checkpoint is broken ({count})"
            folder = os.path.join(verdict.folder, os.path.dirname(verdict.errors[0].file or ""))
            ways = f"{way_to_fix((error.kind for error in verdict.errors), os.path.normpath(folder))}; {way_past}"
            show_error(UploadRefused(message, faults=verdict.errors, help=ways))
    sys.exit(1 if refused else 0)
