"""``ckptkit upload``."""

from __future__ import annotations

import shlex
import sys

import click

from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, json_option, print_json, telling
from ckptkit.report import sink


@click.command(
    "upload",
    cls=Command,
    examples=[
        ("ckptkit upload Llama-3.1-8B-FP8 org/Llama-3.1-8B-FP8 --private", "check, then upload"),
        ("ckptkit upload Llama-3.1-8B-FP8 org/Llama-3.1-8B-FP8 --create-pr", "as a pull request"),
    ],
)
@click.argument("path", type=CHECKPOINT)
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
    path: str,
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

    Exit code 0: uploaded, or the repository holds these files already. 2: refused, or could not run; when refused,
    nothing was sent.
    """
    from ckptkit.errors import plural
    from ckptkit.hub.upload import upload
    from ckptkit.report import text
    from ckptkit.report.layout import print_line

    done = upload(
        path,
        repo,
        create_pr=create_pr,
        private=private,
        revision=revision,
        message=message,
        force=force,
        bars=sys.stderr is not None and sys.stderr.isatty() and not (as_json or sink.manner().quiet),
    )
    with telling(f"uploaded: {done.pull_request or done.url}"):
        if as_json:
            print_json(done.to_json(), "upload")
            return
        out = sink.console()
        if sink.manner().quiet:
            print_line(out, str(done.pull_request or done.url), whole=True)
            return
        if done.changed:
            print_line(out, ("uploaded", "bold green"), f": {plural(done.files, 'file')}, {text.size(done.nbytes)}")
        else:
            print_line(out, ("nothing to upload", "bold green"), ": the repository holds these files already")
        print_line(out, f"  {done.pull_request or done.url}")
        print_line(out, ("  prove that the Hub serves what was checked:", "dim"))
        print_line(out, f"  ckptkit validate {done.proof} --expect {shlex.quote(path)}", whole=True)
