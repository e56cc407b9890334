"""``ckptkit upload``."""

from __future__ import annotations

from pathlib import Path

import click

from ckptkit.cli.options import json_option, print_json


@click.command("upload")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("repo", metavar="ORG/REPO")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing to the branch.")
@click.option("--private/--public", default=None, help="Visibility of a repository that does not exist yet.")
@click.option(
    "--revision", metavar="BRANCH", help="The branch to commit to; made if it does not exist. [default: main]"
)
@click.option("-m", "--commit-message", "message", metavar="TEXT", help="The first line of the commit.")
@click.option("--force", metavar="REASON", help="Upload in spite of errors; the reason is written into the commit.")
@json_option
def command(
    path: Path,
    repo: str,
    create_pr: bool,
    private: bool | None,
    revision: str | None,
    message: str | None,
    force: str | None,
    as_json: bool,
) -> None:
    """Check the checkpoint in the folder PATH, and upload it to ORG/REPO if no rule finds an error.

    The report goes into the description of the commit or pull request. The login is that of the hub library
    ('hf auth login').

    Exit code 0: uploaded. 2: refused, or could not run; when refused, nothing was sent.
    """
    from ckptkit.hub.upload import upload
    from ckptkit.report import text

    done = upload(path, repo, create_pr=create_pr, private=private, revision=revision, message=message, force=force)
    if as_json:
        print_json(done.to_json())
        return
    out = text.console()
    out.print(f"[bold green]uploaded[/]: {text.plural(done.files, 'file')}, {text.size(done.nbytes)}")
    out.print(f"  {done.pull_request or done.url}", markup=False)
    out.print("  prove that the Hub serves what was checked:", style="dim")
    out.print(f"  ckptkit validate {done.proof} --expect {path}", markup=False)
