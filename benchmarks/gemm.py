"""``python -m benchmarks.gemm``: the FP8 product on a GPU, against torch, a plain Triton matmul and the roofline.

One command on a machine with an H200: checks the goldens, tunes and times every shape, writes ``benchmarks/results/``,
the H200's table, the page ``docs/gemm.md`` and the plot ``docs/gemm.svg``. Without a GPU it times nothing, writes
nothing and says so; ``--rehearse`` then walks the whole harness on tiny shapes in the interpreter.

    python -m benchmarks.gemm --tune                        # everything
    python -m benchmarks.gemm --tune --minutes 8            # as much as fits; run it again to go on
    python -m benchmarks.gemm --goldens full --model none   # only check
    python -m benchmarks.gemm --docs                        # only rewrite the documents from the newest results

A run goes on where the results and the table of the same machine leave off. ``--output FOLDER`` writes below that
folder what would go into the source tree.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import gemm_report, gemm_tune
from benchmarks.gemm_results import Results
from ckptkit.kernels import bench
from ckptkit.kernels.build import toolkit
from ckptkit.kernels.configs import TABLES, use
from ckptkit.kernels.golden import cases, check, session

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"

NO_FIGURE = "No GPU figure exists yet: this machine has no FP8 GPU ({why}), and no results of one are committed."

TOKENS = (1, 16, 64, 256, 1024, 4096, 8192)
#: (N, K) of the linear layers: fused qkv, output, fused gate and up, down.
LAYERS = {
    "Llama-3.1-8B": ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)),
    "Llama-3.1-70B": ((10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672)),
}
_REHEARSAL = [(1, 64, 128), (40, 64, 128)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or only its documents."""
    options = _parse(arguments)
    if options.docs:
        return _document()
    machine = session.find_machine()
    if machine.gpu is None:
        if options.rehearse:
            return _rehearse(machine)
        print(NO_FIGURE.format(why=machine.why) if newest() is None else f"{newest()} holds figures; no GPU here.")
        return 0
    end = time.monotonic() + 60 * options.minutes
    if options.goldens != "none" and not check_goldens(machine, full=options.goldens == "full"):
        print("the goldens fail: a wrong product is not worth timing")
        return 1
    shapes = [(m, n, k) for model in options.model for n, k in LAYERS[model] for m in TOKENS]
    if not shapes:
        return 0
    sweep = None
    if options.tune:
        committed = table_of(machine.gpu)
        path = options.output / committed.name if options.output else committed
        table = gemm_tune.Table.open(path, committed, machine.gpu, len(gemm_tune.CANDIDATES))
        gemm_tune.warm(gemm_tune.all_variants())
        sweep = gemm_tune.Sweep(table, bench.GraphClock(repetitions=9))
    results = Results.open(options.output or RESULTS, RESULTS, machine, bench.GraphClock())
    left = walk(shapes, sweep, results, lambda: time.monotonic() > end)
    print(gemm_report.markdown(results.document))
    print(f"results are in {results.path}")
    write_documents(results.path, options.output or DOCS)
    if left:
        print(f"{left} of {len(shapes)} shapes are left: run the same command again to go on")
    return 0


def table_of(gpu: str) -> Path:
    """Where a GPU's tuned configs are committed.

    >>> table_of("NVIDIA H200").name, table_of("NVIDIA H100 80GB HBM3").name
    ('nvidia_h200.json', 'nvidia_h100_80gb_hbm3.json')
    """
    return TABLES / f"{re.sub('[^a-z0-9]+', '_', gpu.lower())}.json"


def walk(
    shapes: Sequence[gemm_tune.Shape],
    sweep: gemm_tune.Sweep | None,
    results: Results,
    enough: Callable[[], bool],
) -> int:
    """Tune and time what the table and the results do not hold yet; how many shapes are left when time is up."""
    for done, shape in enumerate(shapes):
        if enough():
            return len(shapes) - done
        if sweep is not None and not sweep.table.holds(shape):
            sweep.tune(shape)
        if not results.holds(shape):
            results.measure(shape)
        if toolkit().torch.cuda.is_available():
            toolkit().torch.cuda.empty_cache()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gemm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=[*LAYERS, "none"], action="append", help="whose layers; may be repeated")
    parser.add_argument("--goldens", choices=["small", "full", "none"], default="small", help="what is checked first")
    parser.add_argument("--tune", action="store_true", help="sweep configs into the GPU's table first")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no other shape after this long")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write below this folder only")
    parser.add_argument("--docs", action="store_true", help="only rewrite the documents from the newest results")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: run the harness, keep no number")
    options = parser.parse_args(arguments)
    options.model = [model for model in options.model or LAYERS if model != "none"]
    return options


def check_goldens(machine: session.Machine, *, full: bool) -> bool:
    """The golden check, before anything is timed: whether all is right."""
    wanted = [case for case in cases.CASES if full or not case.full]

    def show(outcomes: list[check.CaseOutcome]) -> None:
        for outcome in outcomes:
            if not outcome.passed:
                print(f"FAIL {outcome.case} {outcome.variant} {outcome.accumulate} {outcome.dtype}: {outcome.reason}")

    found = check.run_all(wanted, cases.recorded(), machine.device, show)
    passed = sum(outcome.passed for outcome in found)
    print(f"goldens: {passed} of {len(found)} runs pass; {session.probe(machine.device)}")
    return passed == len(found)


def newest() -> Path | None:
    """The newest results of a GPU, if there are any."""
    return max(RESULTS.glob("gemm-*.json"), default=None)


def _document() -> int:
    path = newest()
    if path is None:
        print(NO_FIGURE.format(why="only documents were asked for"))
    else:
        write_documents(path, DOCS)
    return 0


def write_documents(path: Path, folder: Path) -> None:
    """The page and the plot of one results file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gemm.md").write_text(gemm_report.page(document, path.name), encoding="utf-8")
    (folder / "gemm.svg").write_text(gemm_report.plot(document), encoding="utf-8")


def _rehearse(machine: session.Machine) -> int:
    """Everything but the GPU's clock: contenders, tuning, documents, into a folder that is thrown away."""
    clock, candidates = bench.HostClock(), gemm_tune.CANDIDATES[:2]
    with tempfile.TemporaryDirectory() as folder:
        table = gemm_tune.Table(Path(folder, "rehearsal.json"), "sm_90", len(candidates))
        sweep = gemm_tune.Sweep(table, clock, candidates)
        results = Results.open(Path(folder), Path(folder), machine, clock)
        try:
            walk(_REHEARSAL, sweep, results, lambda: False)
        finally:
            use(None)
        write_documents(results.path, Path(folder))
    print("A rehearsal: those are times of Triton's interpreter, kept nowhere.")
    print(NO_FIGURE.format(why=machine.why))
    return 0


if __name__ == "__main__":
    sys.exit(main())
