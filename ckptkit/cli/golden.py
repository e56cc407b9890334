"""``ckptkit golden``: check, record, bench."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptkit.cli.command import Group
from ckptkit.cli.options import CHECKPOINT, json_option, print_json
from ckptkit.report import sink

if TYPE_CHECKING:
    from ckptkit.kernels.golden.session import GoldenReport, Machine


@click.group("golden", cls=Group)
def command() -> None:
    """Run the FP8 kernels against golden outputs: does this machine multiply FP8 checkpoints right?"""


@command.command(
    "check",
    finds=True,
    examples=[
        ("ckptkit golden check", "this machine against the golden outputs"),
        ("ckptkit golden check Llama-3.1-8B-FP8-KV --against out", "the same bits before and after a conversion?"),
    ],
)
@click.argument("path", required=False, type=CHECKPOINT)
@click.option(
    "--against",
    type=CHECKPOINT,
    metavar="PATH",
    help="Another checkpoint, whose layers must give the same bits as PATH's.",
)
@click.option("--module", "patterns", multiple=True, metavar="GLOB", help="Layers to run. [default: one per shape]")
@click.option("--require-gpu", is_flag=True, help="Exit with 2 where there is no GPU with FP8 products.")
@json_option
def check(path: str | None, against: str | None, patterns: tuple[str, ...], require_gpu: bool, as_json: bool) -> None:
    """Compare the kernels with golden outputs, or with PATH the layers of a checkpoint with float64.

    Without a GPU the kernels run in Triton's interpreter on reduced shapes: that checks the kernels' logic and the
    checkpoint's numbers, not a chip. Exit code 0: all equal. 1: something differs. 2: could not run.
    """
    from ckptkit import api
    from ckptkit.errors import UsageError
    from ckptkit.kernels.golden import cases, check, checkpoint, session

    if path is None and (against or patterns):
        raise UsageError("--against and --module are about a checkpoint", help="give its PATH")
    opened = None if path is None else api.open(path)
    other = None if against is None else api.open(against)
    machine = session.find_machine()
    if not (as_json or sink.manner().quiet):
        _show_machine(machine)
    if require_gpu and machine.gpu is None:
        raise UsageError(f"no GPU to check: {machine.why}", help="without --require-gpu the interpreter runs instead")
    report = session.GoldenReport(machine, session.probe(machine.device))
    quiet = as_json
    if opened is None:
        wanted = [case for case in cases.CASES if machine.gpu is not None or not case.full]
        record = cases.recorded()
        report.outcomes = check.run_all(wanted, record, machine.device, lambda o: None if quiet else _show_cases(o))
    else:
        report.layers = checkpoint.run_checkpoint(opened, machine.device, patterns, _ignore if quiet else _show_layer)
        if other is not None:
            show = _ignore if quiet else partial(_show_layer, label="against: ")
            report.against = checkpoint.run_checkpoint(other, machine.device, patterns, show)
            report.comparison = checkpoint.compare(report.layers, report.against)
    print_json(report.to_json(), "golden") if as_json else _show_outcome(report)
    sys.exit(0 if report.passed else 1)


@command.command("record", finds=True, examples=[("ckptkit golden record --check", "are the recorded ones true?")])
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where hashes.json and tolerances.json go. [default: where the package keeps them]",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
def record(output: Path | None, only_check: bool) -> None:
    """Rebuild the golden hashes from their seeds, and the tolerances from the model of Hopper's tensor core.

    Takes minutes and no GPU. A case that the model does not compute exactly is refused.
    """
    from ckptkit.errors import UsageError
    from ckptkit.kernels.golden import cases, derive, tolerance
    from ckptkit.storage.beside import write_beside

    folder = output or cases.RECORD.parent
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist", help="--output is a folder that is there")
    if output is None and not only_check and not (folder.parents[2] / "pyproject.toml").is_file():
        raise UsageError("an installed package's goldens are what machines are checked against", help="give --output")
    entries: dict[str, Any] = {}
    for case in cases.CASES:
        entries[case.name] = cases.record(case)
        _say(f"{case.name}: {entries[case.name]['inputs'][:16]}")
    texts = {cases.RECORD.name: cases.document(entries), tolerance.RECORD.name: derive.text()}
    paths = {folder / name: text for name, text in texts.items()}
    if only_check:
        stale = [path for path, text in paths.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            _say(f"{path} would change")
        if not stale:
            _say("unchanged")
        sys.exit(1 if stale else 0)
    for path, text in paths.items():
        write_beside(path, text.encode("utf-8"))
    _say(f"{len(entries)} cases and the tolerances written to {folder}")


@command.command("bench", examples=[("ckptkit golden bench --shape 16,4096,4096", "one shape, against torch")])
@click.option("--shape", "shapes", multiple=True, metavar="M,N,K", help="A shape to time; may be repeated.")
@json_option
def bench(shapes: tuple[str, ...], as_json: bool) -> None:
    """Time the product on this machine's GPU, against torch. Needs a GPU with FP8 products."""
    from ckptkit.errors import UsageError
    from ckptkit.kernels import bench
    from ckptkit.kernels.golden import session

    machine = session.find_machine()
    if machine.gpu is None:
        raise UsageError(f"nothing to time: {machine.why}", help="the interpreter's speed says nothing about a GPU")
    rows = [bench.measure(bench.parse_shape(shape)) for shape in shapes or ("16,4096,4096", "4096,4096,4096")]
    if as_json:
        print_json({"machine": asdict(machine), "rows": [row.to_json() for row in rows]}, "bench")
        return
    _show_machine(machine)
    for row in rows:
        _say(bench.line(row))


def _say(line: str) -> None:
    from ckptkit.report.layout import print_line

    print_line(sink.console(), line)


def _ignore(outcome: Any) -> None:
    """What a run for a program shows."""


def _show_machine(machine: Machine) -> None:
    if machine.gpu is None:
        _say(f"NO GPU: {machine.why}. Kernels run in Triton's interpreter on the CPU, on reduced shapes:")
        _say("this checks the kernels' logic, not a chip and not a speed.")
    else:
        _say(f"{machine.gpu} ({machine.architecture}), driver {machine.driver}, CUDA {machine.cuda}")
    _say(f"torch {machine.torch}, triton {machine.triton}, Python {machine.python}")


def _show_cases(outcomes: list[Any]) -> None:
    if sink.manner().quiet and all(outcome.passed for outcome in outcomes):
        return
    failed = [outcome for outcome in outcomes if not outcome.passed]
    used = [outcome.errors["used"] for outcome in outcomes if "used" in outcome.errors]
    norms = f", largest error {max(used):.2f} of what is allowed" if used and not failed else ""
    verdict = "FAIL" if failed else "pass"
    _say(f"{verdict}  {outcomes[0].case}: {len(outcomes) - len(failed)} of {len(outcomes)} runs{norms}")
    for outcome in failed:
        _say(f"      {outcome.variant} {outcome.accumulate} {outcome.dtype}: {outcome.reason}")


def _show_layer(outcome: Any, label: str = "") -> None:
    if sink.manner().quiet and outcome.passed:
        return
    verdict = "skip" if outcome.skipped else "pass" if outcome.passed else "FAIL"
    size = f" {'x'.join(map(str, outcome.shape))}" if outcome.shape else ""
    note = outcome.reason or outcome.skipped or (outcome.digest or "")[:16]
    _say(f"{verdict}  {label}{outcome.name}{size}, {outcome.what}: {note}")


def _show_outcome(report: GoldenReport) -> None:
    if not sink.manner().quiet:
        _say(f"accumulator: {report.probe}")
    for difference in report.differences:
        _say(f"FAIL  {difference}")
    failed = sum(not result.passed for result in report.results) + len(report.differences)
    skipped = sum(layer.skipped is not None for layer in (*report.layers, *report.against))
    where = "the interpreter" if report.machine.gpu is None else report.machine.gpu
    verdict = f"{failed} FAIL" if failed else "all pass"
    _say(f"{len(report.results) - skipped} results on {where}: {verdict}" + (f"; {skipped} skipped" * bool(skipped)))
    if report.comparison is not None and report.comparison.total:
        _say(report.comparison.line)
