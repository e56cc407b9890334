"""``ckptkit validate``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptkit.errors import CkptkitError, UsageError
from ckptkit.settings import OUTPUT_FORMATS, PROJECT_KEYS, Settings, checked, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.rules.engine import Report
    from ckptkit.rules.fixes.mend import Mending
    from ckptkit.rules.matrix import Matrix
    from ckptkit.rules.registry import Rule
    from ckptkit.rules.skip_lists import SkipTable


@dataclass(frozen=True)
class Request:
    """What the command line asks for beyond the settings."""

    matrix: bool
    skip_list: bool
    statistics: bool
    fix: bool
    diff: bool
    output: str | None
    quiet: bool
    expect: str | None


@dataclass(frozen=True)
class Verdict:
    """Everything that is known about one checkpoint when it is printed."""

    report: Report
    settings: Settings
    matrix: Matrix | None = None
    skip_table: SkipTable | None = None
    mending: Mending | None = None
    destination: str = ""
    written: bool = False

    @property
    def clean(self) -> bool:
        """No errors and no warnings left, and nothing that --diff would change."""
        pending = self.mending is not None and self.mending.changes and not self.written
        return self.report.clean and not pending


@click.command("validate")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--level", metavar="LEVEL", help="Read headers, scales too, or full: every byte. [default: scales]")
@click.option("--for", "engines", metavar="ENGINE", multiple=True, help="Only what hits vllm, sglang, trtllm, ...")
@click.option("--select", metavar="RULES", multiple=True, help="Only these rules: CK3, CK301, a family, ALL.")
@click.option("--ignore", metavar="RULES", multiple=True, help="Not these rules.")
@click.option("--extend-select", metavar="RULES", multiple=True, help="These rules too.")
@click.option("--fix", is_flag=True, help="Mend what is safe, in place or into --output; no weight byte changes.")
@click.option("--unsafe-fixes", is_flag=True, help="Let --fix and --diff make judgement calls too.")
@click.option("--diff", is_flag=True, help="Show what --fix would change; write nothing.")
@click.option("--output", metavar="DIR", help="The new folder for the mended checkpoint.")
@click.option("--expect", metavar="DIR", help="Prove that the Hub serves what is in this folder.")
@click.option("--matrix", is_flag=True, help="Add a table: what each engine makes of the checkpoint.")
@click.option("--tp", metavar="SIZES", help="Add tensor-parallel sizes to the table: 1,2,4,8.")
@click.option("--skip-list", is_flag=True, help="Add what each engine's matcher decides for each module.")
@click.option("--output-format", metavar="FORMAT", help=f"One of {', '.join(OUTPUT_FORMATS)}.")
@click.option("--json", "as_json", is_flag=True, help="The same as --output-format json.")
@click.option("--statistics", is_flag=True, help="Count findings by rule instead of showing them.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
@click.option("--isolated", is_flag=True, help="Read no settings from files.")
def command(paths: tuple[str, ...], isolated: bool, as_json: bool, **options: Any) -> None:
    """Check the checkpoints in PATH for everything that breaks engines.

    Settings are read from [tool.ckptkit] in the nearest pyproject.toml and from .ckptkit.toml in the checkpoint's
    folder; what is given here comes first.

    Exit code 0: clean. 1: errors or warnings. 2: could not run.
    """
    keys = ("matrix", "skip_list", "statistics", "fix", "diff", "output", "quiet", "expect")
    request = Request(**{key: options.pop(key) for key in keys})
    layer = command_line_layer({**options, "output_format": "json" if as_json else options["output_format"]})
    if request.output is not None and (len(paths) > 1 or not request.fix):
        raise UsageError("--output goes with --fix and one PATH")
    if request.expect is not None and len(paths) > 1:
        raise UsageError("--expect goes with one PATH")
    if request.fix and request.diff:
        raise UsageError("--fix writes and --diff does not: give one of them")
    verdicts = []
    failed = False
    for path in paths:
        try:
            verdicts.append(judge(path, settings_for(path, layer, isolated), request))
        except CkptkitError as error:
            if len(paths) == 1 or isinstance(error, UsageError):
                raise
            show_error(error)
            failed = True
    if verdicts:
        show(verdicts, request)
    sys.exit(2 if failed else 0 if all(verdict.clean for verdict in verdicts) else 1)


def show_error(error: CkptkitError) -> None:
    """One of several checkpoints could not be looked at; the others are."""
    from ckptkit.report.text import show_error

    show_error(error)


def command_line_layer(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line, checked as those of files are."""
    given = {
        key.replace("_", "-"): list(value) if isinstance(value, tuple) else value for key, value in options.items()
    }
    given = {key: ",".join(value) if isinstance(value, list) else value for key, value in given.items() if value}
    if "engines" in given:
        given["for"] = given.pop("engines")
    return checked(given, "command line", PROJECT_KEYS)


def settings_for(path: str, layer: dict[str, Any], isolated: bool) -> Settings:
    """The settings of one checkpoint: those of files, then the command line."""
    folder = Path(path)
    base = Settings() if isolated else load_settings(folder if folder.is_dir() else None)
    return base.with_layer(layer)


def judge(path: str, settings: Settings, request: Request) -> Verdict:
    """Look at one checkpoint, and mend it if that is asked for."""
    from dataclasses import replace

    from ckptkit import api
    from ckptkit.rules import engine
    from ckptkit.rules.matrix import build_matrix
    from ckptkit.rules.registry import Level, select
    from ckptkit.rules.skip_lists import skip_views

    rules = select((*settings.select, *settings.extend_select), settings.ignore)
    engines = checked_engines(settings.engines)
    if request.fix:
        api.finish_interrupted_fix(path)
    container = api.open_files(path)
    level = Level.parse(settings.level) if settings.level else api.default_level(container.source)
    mending, destination, written = None, path, False
    if request.fix or request.diff:
        from ckptkit.rules.fixes.mend import mend

        # Notes are mended only for who asks for their rules: a clean checkpoint is not rewritten.
        notes = settings.select != Settings().select or bool(settings.extend_select)
        mending = mend(container, level, unsafe=settings.unsafe_fixes, rules=rules, engines=engines, notes=notes)
        destination = request.output or path
        if request.fix:
            written = api.write_mended(mending, path, request.output)
        if mending.changes:
            container = api.open_files(destination) if written else mending.workspace.reopened()
    context = engine.examine(container)
    report = engine.run(context, level, rules)
    if request.expect is not None:
        from ckptkit.hub.expect import with_differences

        report = with_differences(report, container, Path(request.expect))
    matrix = (
        build_matrix(context, report, settings.tensor_parallel) if request.matrix or settings.tensor_parallel else None
    )
    if engines is not None:
        report = replace(report, findings=tuple(finding for finding in report.findings if finding.hits(engines)))
    table = skip_views(context) if request.skip_list else None
    return Verdict(report, settings, matrix, table, mending, destination, written)


def checked_engines(names: tuple[str, ...]) -> frozenset[str] | None:
    """The engines that were asked for; None for all of them."""
    from ckptkit.engines.effects import ENGINES

    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise UsageError(f"unknown engine {unknown[0]!r}", help=f"engines: {', '.join(ENGINES)}")
    return frozenset(names) or None


def show(verdicts: Sequence[Verdict], request: Request) -> None:
    """Print everything in the format of the settings, which is the same for all checkpoints."""
    from ckptkit.rules.registry import all_rules

    rules = {rule.code: rule for rule in all_rules()}
    output = verdicts[0].settings.output_format
    if output == "json":
        from ckptkit.report.machine import dump

        click.echo(dump([document(verdict) for verdict in verdicts]))
    elif output == "text":
        show_text(verdicts, rules, request)
    else:
        from ckptkit.report.machine import RENDERERS

        text = RENDERERS[output]([verdict.report for verdict in verdicts], rules)
        click.echo(text) if text else None


def show_text(verdicts: Sequence[Verdict], rules: dict[str, Rule], request: Request) -> None:
    """For people: fixes, findings, tables."""
    from ckptkit.report import findings_text

    for verdict in verdicts:
        show_mending(verdict, request)
        if not request.statistics and not request.diff:
            findings_text.show_report(verdict.report, rules, quiet=request.quiet)
        if not request.quiet:
            findings_text.show_origin(verdict.settings.files)
            show_tables(verdict)
    if request.statistics:
        findings_text.show_statistics([verdict.report for verdict in verdicts], rules)


def show_mending(verdict: Verdict, request: Request) -> None:
    """What was mended, or with --diff what would be."""
    from ckptkit.report import fix_text

    if verdict.mending is None:
        return
    if request.diff:
        fix_text.show_diff(verdict.mending, verdict.destination)
    elif not request.quiet:
        fix_text.show_fixes(verdict.mending, verdict.destination, written=verdict.written)


def show_tables(verdict: Verdict) -> None:
    """The engine matrix and the skip-list view, where they were asked for."""
    from ckptkit.report.matrix import show_matrix, show_skip_table

    if verdict.matrix is not None:
        show_matrix(verdict.matrix)
    if verdict.skip_table is not None:
        show_skip_table(verdict.skip_table)


def document(verdict: Verdict) -> dict[str, Any]:
    """One checkpoint as described by ``schemas/report.json``."""
    from ckptkit.report.data import report_to_json
    from ckptkit.report.fix_text import fixes_to_json

    result = report_to_json(verdict.report)
    if verdict.mending is not None:
        result["fixes"] = fixes_to_json(verdict.mending, verdict.destination, written=verdict.written)
    if verdict.matrix is not None:
        result["matrix"] = verdict.matrix.to_json()
    if verdict.skip_table is not None:
        result["skip_lists"] = verdict.skip_table.to_json()
    return result
