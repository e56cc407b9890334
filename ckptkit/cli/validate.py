"""``ckptkit validate``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptkit.checks.settings import OUTPUT_FORMATS, PROJECT_KEYS, Layer, Settings, checked, combine, load_layers
from ckptkit.cli.options import CHECKPOINT
from ckptkit.errors import CkptkitError, UsageError, plural, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptkit.checks.finding import Finding
    from ckptkit.checks.fixers import Safety
    from ckptkit.checks.fixing import Fixes
    from ckptkit.checks.registry import Level
    from ckptkit.checks.runner import Report, Selection
    from ckptkit.views.matrix import Matrix
    from ckptkit.views.skip_table import SkipTable


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
    several: bool


@dataclass(frozen=True)
class Verdict:
    """Everything that is known about one checkpoint when it is printed."""

    report: Report
    settings: Settings
    matrix: Matrix | None = None
    skip_table: SkipTable | None = None
    fixes: Fixes | None = None
    destination: str = ""
    written: bool = False
    offers: Mapping[Finding, Safety] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """No errors and no warnings left, and nothing that --diff would change."""
        pending = self.fixes is not None and self.fixes.changes and not self.written
        return self.report.clean and not pending


@click.command("validate")
@click.argument("paths", nargs=-1, required=True, type=CHECKPOINT, metavar="PATH...")
@click.option("--level", metavar="LEVEL", help="Read headers, scales too, or full: every byte. [default: scales]")
@click.option("--for", "engines", metavar="ENGINE", multiple=True, help="Only what hits vllm, sglang, trtllm, ...")
@click.option("--select", metavar="RULES", multiple=True, help="Only these rules: CK3, CK301, a family, ALL.")
@click.option("--ignore", metavar="RULES", multiple=True, help="Not these rules.")
@click.option("--extend-select", metavar="RULES", multiple=True, help="These rules too.")
@click.option("--fix", is_flag=True, help="Fix what is safe, in place or into --output; no weight byte changes.")
@click.option("--unsafe-fixes", is_flag=True, help="Let --fix and --diff make judgement calls too.")
@click.option("--diff", is_flag=True, help="Show what --fix would change; write nothing.")
@click.option("--output", metavar="DIR", help="The new folder for the fixed checkpoint.")
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
    request = Request(**{key: options.pop(key) for key in keys}, several=len(paths) > 1)
    if as_json and options["output_format"] not in (None, "json"):
        raise UsageError(f"--json and --output-format {options['output_format']}: give one of them")
    layer = command_line_layer({**options, "output_format": "json" if as_json else options["output_format"]})
    common = settings_for(None, layer, isolated).settings
    refuse_contradictions(request, common)
    verdicts: list[Verdict] = []
    failures: dict[str, CkptkitError] = {}
    for path in paths:
        try:
            verdicts.append(judge(path, settings_for(path, layer, isolated), request))
        except CkptkitError as error:
            if not request.several:
                raise
            show_error(error)
            failures[path] = error
    show(verdicts, failures, request, common.output_format)
    sys.exit(2 if failures else 0 if all(verdict.clean for verdict in verdicts) else 1)


def refuse_contradictions(request: Request, settings: Settings) -> None:
    """Refuse options of which one would silently do nothing."""
    if request.output is not None and (request.several or not request.fix):
        raise UsageError("--output goes with --fix and one PATH")
    if request.expect is not None and request.several:
        raise UsageError("--expect goes with one PATH")
    if request.fix and request.diff:
        raise UsageError("--fix writes and --diff does not: give one of them")
    output = settings.output_format
    tables = request.matrix or request.skip_list or bool(settings.tensor_parallel)
    for option, given, fitting in (
        ("--statistics", request.statistics, ("text",)),
        ("--diff", request.diff, ("text", "json")),
        ("--matrix, --tp and --skip-list", tables, ("text", "json")),
    ):
        if given and output not in fitting:
            raise UsageError(f"no {output} output for {option}", help=f"--output-format {' or '.join(fitting)}")


def show_error(error: CkptkitError) -> None:
    """One of several checkpoints could not be looked at; the others are."""
    from ckptkit.report.text import show_error

    show_error(error)


def command_line_layer(options: dict[str, Any]) -> Layer:
    """The settings that were given on the command line, checked as those of files are."""
    given = {key.replace("_", "-"): value for key, value in options.items() if value not in (None, (), False)}
    given = {key: ",".join(value) if isinstance(value, tuple) else value for key, value in given.items()}
    if "engines" in given:
        given["for"] = given.pop("engines")
    return Layer("", checked(given, "--", PROJECT_KEYS))


@dataclass(frozen=True)
class Scope:
    """The settings of one checkpoint, and what they would be without the file that came with it."""

    settings: Settings
    trusted: Settings


def settings_for(path: str | None, command_line: Layer, isolated: bool) -> Scope:
    """Those of files, then the command line."""
    folder = Path(path) if path and os.path.isdir(path) else None
    layers = (*(() if isolated else load_layers(folder)), command_line)
    for layer in layers:
        check_words(layer)
    return Scope(combine(layers), combine(layer for layer in layers if not layer.own))


def check_words(layer: Layer) -> None:
    """Refuse a rule or an engine that does not exist, with the file that names it."""
    from ckptkit.checks.registry import select
    from ckptkit.engines.effects import ENGINES

    where = f"{layer.origin}: " if layer.origin else ""
    for key in ("select", "extend_select", "ignore"):
        try:
            select(layer.values.get(key, ()))
        except UsageError as error:
            raise UsageError(f"{where}{error.message}", help=error.help) from None
    unknown = [name for name in layer.values.get("engines", ()) if name not in ENGINES]
    if unknown:
        raise UsageError(f"{where}unknown engine {unknown[0]!r}", help=f"engines: {', '.join(ENGINES)}")


def judge(path: str, scope: Scope, request: Request) -> Verdict:
    """Look at one checkpoint, and fix it if that is asked for."""
    from ckptkit import api
    from ckptkit.checks import runner
    from ckptkit.checks.offers import offers
    from ckptkit.views.matrix import build_matrix
    from ckptkit.views.skip_table import skip_views

    settings = scope.settings
    wanted, due = selection(settings), selection(scope.trusted)
    if not due.rules:
        raise UsageError("no rule is left to check: all that are selected are ignored")
    if request.fix and request.output is None:
        show_finished(path, api.finish_interrupted_fix(path))
    container = api.open_files(path)
    level = level_for(scope, api.default_level(container.source))
    fixes, destination, written = None, path, False
    if request.fix or request.diff:
        from ckptkit.checks.fixing import find_fixes

        # Notes are fixed only for who asks for their rules: a clean checkpoint is not rewritten.
        notes = settings.select != Settings().select or bool(settings.extend_select)
        fixes = find_fixes(
            container, level, unsafe=settings.unsafe_fixes, rules=wanted.rules, engines=wanted.engines, notes=notes
        )
        destination = path if request.output is None else request.output
        if request.fix:
            written = api.write_fixes(fixes, path, request.output)
        if fixes.changes:
            container = api.open_files(destination) if written else fixes.workspace.reopened()
    context = runner.examine(container)
    report = runner.run(context, level, dict.fromkeys((*wanted.rules, *due.rules)))
    tables = request.matrix or bool(settings.tensor_parallel)
    matrix = build_matrix(context, report, settings.tensor_parallel) if tables else None
    report = runner.narrow(report, wanted, due)
    if request.expect is not None:
        from ckptkit.hub.expect import with_differences

        report = with_differences(report, container, Path(request.expect))
    table = skip_views(context) if request.skip_list else None
    offered = offers(context, report.findings) if settings.output_format == "text" else {}
    return Verdict(report, settings, matrix, table, fixes, destination, written, offered)


def selection(settings: Settings) -> Selection:
    """The rules and engines that settings ask for."""
    from ckptkit.checks.registry import select
    from ckptkit.checks.runner import Selection

    rules = select((*settings.select, *settings.extend_select), settings.ignore)
    return Selection(rules, frozenset(settings.engines) or None)


def level_for(scope: Scope, default: Level) -> Level:
    """How much is read. The checkpoint's own file can ask for more than that, and not for less."""
    from ckptkit.checks.registry import Level

    due, wanted = (Level.parse(s.level) if s.level else default for s in (scope.trusted, scope.settings))
    return max(due, wanted)


def show_finished(path: str, moved: int) -> None:
    """What an interrupted run had left to do."""
    if moved:
        click.echo(f"finished an interrupted --fix of {printable(path)}: {plural(moved, 'file')}", err=True)


def show(verdicts: Sequence[Verdict], failures: Mapping[str, CkptkitError], request: Request, output: str) -> None:
    """Print everything in the format of the settings, which is the same for all checkpoints."""
    from ckptkit.checks.registry import all_rules

    rules = {rule.code: rule for rule in all_rules()}
    if output == "json":
        from ckptkit.report.machine import dump

        documents = [document(verdict) for verdict in verdicts]
        documents += [failure_to_json(path, error) for path, error in failures.items()]
        click.echo(dump(documents, several=request.several))
    elif output == "text":
        show_text(verdicts, request)
    else:
        from ckptkit.report.machine import RENDERERS

        reasons = {path: error.message for path, error in failures.items()}
        text = RENDERERS[output]([verdict.report for verdict in verdicts], rules, reasons)
        click.echo(text) if text else None
        for verdict in verdicts:
            if verdict.report.hidden:
                click.echo(f"{printable(verdict.report.label)}: {hidden_in_words(verdict)}", err=True)


def show_text(verdicts: Sequence[Verdict], request: Request) -> None:
    """For people: fixes, findings, tables."""
    from ckptkit.report import findings_text

    for verdict in verdicts:
        show_fixes_of(verdict, request)
        if not request.statistics and not request.diff:
            findings_text.show_report(verdict.report, verdict.offers, quiet=request.quiet)
        if not request.quiet:
            findings_text.show_origin(verdict.settings.files)
            if verdict.report.hidden:
                click.echo(f"    {hidden_in_words(verdict)}")
            show_tables(verdict)
    if request.statistics:
        offered = {finding: safety for verdict in verdicts for finding, safety in verdict.offers.items()}
        findings_text.show_statistics([verdict.report for verdict in verdicts], offered)


def hidden_in_words(verdict: Verdict) -> str:
    """How much the file that came with the checkpoint hides."""
    count = verdict.report.hidden
    return f"{count} {'findings are' if count > 1 else 'finding is'} hidden by {printable(verdict.settings.files[-1])}"


def show_fixes_of(verdict: Verdict, request: Request) -> None:
    """What was fixed, or with --diff what would be."""
    from ckptkit.report import fix_text

    if verdict.fixes is None:
        return
    if request.diff:
        fix_text.show_diff(verdict.fixes, verdict.destination)
    elif not request.quiet:
        fix_text.show_fixes(verdict.fixes, verdict.destination, written=verdict.written)


def show_tables(verdict: Verdict) -> None:
    """The engine matrix and the skip-list view, where they were asked for."""
    from ckptkit.report.matrix import show_matrix, show_skip_table

    if verdict.matrix is not None:
        show_matrix(verdict.matrix)
    if verdict.skip_table is not None:
        show_skip_table(verdict.skip_table)


def failure_to_json(path: str, error: CkptkitError) -> dict[str, Any]:
    """A path that could not be looked at, as described by ``schemas/report.json``."""
    return {"path": path, "error": error.message, **({"help": error.help} if error.help else {})}


def document(verdict: Verdict) -> dict[str, Any]:
    """One checkpoint as described by ``schemas/report.json``."""
    from ckptkit.report.data import report_to_json
    from ckptkit.report.fix_text import fixes_to_json

    result = report_to_json(verdict.report)
    if verdict.settings.files:
        result["settings"] = {"files": list(verdict.settings.files), "hidden": verdict.report.hidden}
    if verdict.fixes is not None:
        result["fixes"] = fixes_to_json(verdict.fixes, verdict.destination, written=verdict.written)
    if verdict.matrix is not None:
        result["matrix"] = verdict.matrix.to_json()
    if verdict.skip_table is not None:
        result["skip_lists"] = verdict.skip_table.to_json()
    return result
