"""``ckptkit validate``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ckptkit.checks.settings import OUTPUT_FORMATS, PROJECT_KEYS, checked
from ckptkit.cli import completing
from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, telling, words_option
from ckptkit.errors import CkptkitError, UsageError, place, plural, printable
from ckptkit.record import record
from ckptkit.report import sink

if TYPE_CHECKING:
    from ckptkit.validation import Request, Validation


_FORMATS_HELP = f"One of {', '.join(OUTPUT_FORMATS)}."


@record
class View:
    """How the answers are shown; ``several``: with the name of each, and a total at the end."""

    output_format: str
    statistics: bool
    several: bool


@click.command(
    "validate",
    cls=Command,
    finds=True,
    examples=[
        ("ckptkit validate Llama-3.1-8B-FP8", "everything that breaks engines"),
        ("ckptkit validate Llama-3.1-8B-FP8 --diff", "what --fix would change"),
        ("ckptkit validate Llama-3.1-8B-FP8 --fix --output fixed", "a fixed copy; without --output in place"),
        ("ckptkit validate Llama-3.1-8B-FP8 --matrix --tp 1,2,4", "what each engine makes of it"),
        ("ckptkit validate Llama-3.1-8B-FP8 --matrix --gpu h100", "on that hardware"),
        ("ckptkit validate models --statistics", "all checkpoints in a folder, counted"),
    ],
)
@click.argument("paths", nargs=-1, required=True, type=CHECKPOINT, metavar="PATH...")
@click.option(
    "--level",
    metavar="LEVEL",
    envvar="CKPTKIT_LEVEL",
    shell_complete=completing.LEVELS,
    help="Read headers, scales too, or full: every byte. [default: scales]",
)
@click.option(
    "--for",
    "for",
    metavar="ENGINE",
    **words_option("FOR", completing.ENGINES),
    help="Only what hits vllm, sglang, trtllm, ...",
)
@click.option(
    "--select",
    metavar="RULES",
    **words_option("SELECT", completing.RULES),
    help="Only these rules: CK3, CK301, a family, ALL.",
)
@click.option("--ignore", metavar="RULES", **words_option("IGNORE", completing.RULES), help="Not these rules.")
@click.option(
    "--extend-select", metavar="RULES", **words_option("EXTEND_SELECT", completing.RULES), help="These rules too."
)
@click.option("--fix", is_flag=True, help="Fix what is safe, in place or into --output; no weight byte changes.")
@click.option(
    "--unsafe-fixes", is_flag=True, envvar="CKPTKIT_UNSAFE_FIXES", help="Let --fix and --diff make judgement calls too."
)
@click.option("--diff", is_flag=True, help="Show what --fix would change; write nothing.")
@click.option("--output", metavar="DIR", help="The new folder for the fixed checkpoint.")
@click.option("--expect", metavar="DIR", help="Prove that the Hub serves what is in this folder.")
@click.option("--matrix", is_flag=True, help="Add a table: what each engine makes of the checkpoint.")
@click.option(
    "--tp",
    "--tensor-parallel",
    "tp",
    metavar="SIZES",
    envvar="CKPTKIT_TP",
    help="Add tensor-parallel sizes to the table: 1,2,4,8.",
)
@click.option(
    "--gpu",
    metavar="GPU",
    envvar="CKPTKIT_GPU",
    shell_complete=completing.GPUS,
    help="Narrow the table to hardware: h100, l4, mi300x, sm_90, cpu, ...",
)
@click.option("--skip-list", is_flag=True, help="Add what each engine's matcher decides for each module.")
@click.option(
    "--output-format",
    metavar="FORMAT",
    envvar="CKPTKIT_OUTPUT_FORMAT",
    shell_complete=completing.OUTPUTS,
    help=_FORMATS_HELP,
)
@click.option("--json", "as_json", is_flag=True, help="The same as --output-format json.")
@click.option("--statistics", is_flag=True, help="Count findings by rule instead of showing them.")
@click.option("--isolated", is_flag=True, envvar="CKPTKIT_ISOLATED", help="Read no settings from files.")
def command(paths: tuple[str, ...], isolated: bool, as_json: bool, statistics: bool, **options: Any) -> None:
    """Check the checkpoints in PATH for everything that breaks engines. A folder of checkpoints stands for all in it.

    Settings are read from [tool.ckptkit] in the nearest pyproject.toml and from .ckptkit.toml in the checkpoint's
    folder; what is given here comes first.

    Exit code 0: clean. 1: errors or warnings. 2: could not run.
    """
    from ckptkit.report.progress import ByteProgress
    from ckptkit.validation import validate

    found = [one for path in paths for one in checkpoints_in(path)]
    several = len(found) > 1 or tuple(found) != paths
    request, output_format = parse(options, as_json=as_json, isolated=isolated, several=several)
    view = View(output_format, statistics, several)
    refuse_contradictions(request, view)
    answers: list[Validation] = []
    failures: dict[str, CkptkitError] = {}
    for path in found:
        with ByteProgress(f"checking {path}", quiet=sink.manner().quiet) as progress:
            counted = [partial(progress.follow, f"{doing} {path}") for doing in ("checking", "writing")]
            try:
                answer = validate(path, request, partial(show_finished, path), *counted)
            except CkptkitError as error:
                if not several:
                    raise
                with progress.aside():
                    show_error(error)
                failures[path] = error
                continue
        answers.append(answer)
        if view.output_format == "text":
            with telling(f"fixed: {answer.destination}") if answer.written else nullcontext():
                show_text(answer, request, view)
    written = [answer for answer in answers if answer.written]
    with telling(f"fixed: {', '.join(answer.destination for answer in written)}") if written else nullcontext():
        show_all(answers, failures, request, view)
    sys.exit(2 if failures else 0 if all(answer.clean and not answer.pending for answer in answers) else 1)


def checkpoints_in(path: str) -> tuple[str, ...]:
    """The checkpoints that a path stands for: itself, or of a folder that only holds checkpoints all of them."""
    from ckptkit.storage.locate import folders_of_checkpoints

    try:
        return folders_of_checkpoints(path) if os.path.isdir(path) else (path,)
    except CkptkitError:
        return (path,)  # what is wrong with it is said when it is looked at


def parse(options: dict[str, Any], *, as_json: bool, isolated: bool, several: bool) -> tuple[Request, str]:
    """The request that the options make, and the format of the output. What is not given is left to the settings."""
    from ckptkit.validation import Request

    output_format = options["output_format"]
    if as_json and output_format not in (None, "json"):
        raise UsageError(f"--json and --output-format {output_format}: give one of them")
    if as_json:
        options["output_format"] = "json"
    own = {key: options.pop(key) for key in ("matrix", "skip_list", "fix", "diff", "output", "expect")}
    given = {key.replace("_", "-"): value for key, value in options.items() if value not in (None, (), False)}
    given = {key: ",".join(value) if isinstance(value, tuple) else value for key, value in given.items()}
    values = checked(given, "--", PROJECT_KEYS)
    output_format = values.pop("output_format", None)
    if several and (own["output"] is not None or own["expect"] is not None):
        option = "--output goes with --fix and" if own["output"] is not None else "--expect goes with"
        raise UsageError(f"{option} one PATH")
    request = Request(**own, **values, isolated=isolated)
    output_format = output_format or request.scope().settings.output_format
    sink.configure(machine=output_format == "json")
    return replace(request, offers=output_format == "text"), output_format


def refuse_contradictions(request: Request, view: View) -> None:
    """Refuse options of which one would silently do nothing."""
    settings = request.scope().settings
    tables = request.matrix or request.skip_list or bool(settings.tensor_parallel or settings.gpu)
    for option, given, fitting in (
        ("--statistics", view.statistics, ("text",)),
        ("--diff", request.diff, ("text", "json")),
        ("--matrix, --tp, --gpu and --skip-list", tables, ("text", "json")),
    ):
        if given and view.output_format not in fitting:
            raise UsageError(
                f"no {view.output_format} output for {option}", help=f"--output-format {' or '.join(fitting)}"
            )


def show_error(error: CkptkitError) -> None:
    """One of several checkpoints could not be looked at; the others are."""
    from ckptkit.report.text import show_error

    show_error(error)


def show_finished(path: str, moved: int) -> None:
    """What an interrupted run had left to do."""
    if moved:
        click.echo(f"finished an interrupted --fix of {printable(path)}: {plural(moved, 'file')}", err=True)


def show_all(answers: Sequence[Validation], failures: Mapping[str, CkptkitError], request: Request, view: View) -> None:
    """Print what comes after all checkpoints, or for programs everything, in one format."""
    if view.output_format == "text":
        from ckptkit.report import findings_text

        if view.statistics:
            offered = {finding: safety for answer in answers for finding, safety in answer.offers.items()}
            findings_text.show_statistics(answers, offered)
        elif view.several and not sink.manner().quiet and not request.diff:
            findings_text.show_total(answers, len(failures))
    elif view.output_format == "json":
        from ckptkit.report.machine import dump

        click.echo(dump([answer.to_json() for answer in answers], failures, several=view.several))
    else:
        from ckptkit.checks.registry import all_rules
        from ckptkit.report.machine import RENDERERS

        reasons = {path: error.message for path, error in failures.items()}
        text = RENDERERS[view.output_format](answers, {rule.code: rule for rule in all_rules()}, reasons)
        click.echo(text) if text else None
        for answer in answers:
            if answer.hidden:
                click.echo(f"{place(answer.label)}: {hidden_in_words(answer)}", err=True)


def show_text(answer: Validation, request: Request, view: View) -> None:
    """For people: fixes, findings, tables."""
    from ckptkit.report import findings_text
    from ckptkit.report.layout import print_line
    from ckptkit.report.sink import console

    quiet = sink.manner().quiet
    show_fixes(answer, request)
    if not view.statistics and not request.diff:
        findings_text.show_report(answer, answer.offers, quiet=quiet, named=view.several)
    if not quiet:
        findings_text.show_origin(answer.settings.files)
        if answer.hidden:
            print_line(console(), f"    {hidden_in_words(answer)}")
        show_tables(answer)


def hidden_in_words(answer: Validation) -> str:
    """How much the file that came with the checkpoint hides."""
    count = answer.hidden
    return f"{count} {'findings are' if count > 1 else 'finding is'} hidden by {printable(answer.settings.files[-1])}"


def show_fixes(answer: Validation, request: Request) -> None:
    """What was fixed, or with --diff what would be."""
    if answer.fixes is None:
        return
    from ckptkit.report import fix_text

    if request.diff:
        fix_text.show_diff(answer.fixes, answer.destination)
    elif not sink.manner().quiet:
        fix_text.show_fixes(answer.fixes, answer.destination, written=answer.written)


def show_tables(answer: Validation) -> None:
    """The engine matrix and the skip-list view, where they were asked for."""
    if answer.matrix is None and answer.skip_table is None:
        return
    from ckptkit.report.matrix import show_matrix, show_skip_table

    if answer.matrix is not None:
        show_matrix(answer.matrix)
    if answer.skip_table is not None:
        show_skip_table(answer.skip_table)
