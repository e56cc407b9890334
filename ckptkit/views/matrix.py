"""One table for a checkpoint: what each engine makes of it, and with which tensor-parallel sizes.

It lives beside the rules and not beside the engines because it is made from a report's findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.runner import Report
from ckptkit.engines.effects import ENGINES, Engine, Outcome
from ckptkit.engines.methods import UNREAD
from ckptkit.engines.parallel import SPLITTERS, obstacles
from ckptkit.formats.reading import NoReader, Unquantized

#: The worst outcome of a report's findings -> what that means for the engine.
_VERDICTS = {
    Outcome.ERROR: "refuses",
    Outcome.SILENT: "silently wrong",
    Outcome.WARNING: "warns",
    Outcome.SLOW: "slow",
    Outcome.OK: "loads",
}


@dataclass(frozen=True)
class ParallelSize:
    """Whether an engine can split the checkpoint over ``size`` devices, and what stands in the way."""

    size: int
    obstacles: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        return not self.obstacles

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "works": self.works, "obstacles": list(self.obstacles)}


@dataclass(frozen=True)
class MatrixRow:
    """One engine's verdict: "loads", "slow", "warns", "silently wrong", "refuses", "does not read" or "not judged".

    ``codes`` holds the rules that led to it, by outcome ("error", "silent", "warning", "slow").
    """

    engine: str
    label: str
    version: str
    basis: str
    verdict: str
    codes: dict[str, tuple[str, ...]]
    note: str = ""
    parallel: tuple[ParallelSize, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "label": self.label,
            "version": self.version,
            "basis": self.basis,
            "verdict": self.verdict,
            "codes": {outcome: list(codes) for outcome, codes in self.codes.items()},
            "note": self.note,
            "parallel": [size.to_json() for size in self.parallel],
        }


@dataclass(frozen=True)
class Matrix:
    """Every engine's row, in the order of the engine table."""

    label: str
    format: str | None
    dialect: str | None
    rows: tuple[MatrixRow, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.label,
            "format": self.format,
            "dialect": self.dialect,
            "engines": [row.to_json() for row in self.rows],
        }


def build_matrix(context: Context, report: Report, tensor_parallel: tuple[int, ...] = ()) -> Matrix:
    """The verdicts that follow from a report's findings, and the parallel sizes that were asked about.

    Effects that are known of older versions only do not count: a row speaks of the version that it names.
    """
    rows = tuple(_row(context, report, engine, tensor_parallel) for engine in ENGINES.values())
    return Matrix(report.label, report.format, report.dialect, rows)


def _why_not_read(context: Context) -> str:
    """Why nothing is said about engines that nothing was found against."""
    found = context.reading
    if isinstance(found, NoReader):
        return f"no reader for this: {found.words}"
    if isinstance(found, Unquantized):
        return found.message
    return "the quantization config could not be read"


def _row(context: Context, report: Report, engine: Engine, tensor_parallel: tuple[int, ...]) -> MatrixRow:
    codes: dict[Outcome, dict[str, None]] = {}
    for finding in report.findings:
        for effect in finding.engines:
            if effect.engine == engine.name and effect.outcome.harmful and effect.current:
                codes.setdefault(effect.outcome, {})[finding.code] = None
    worst = min(codes, key=list(Outcome).index, default=Outcome.OK)
    verdict, note = _VERDICTS[worst], ""
    name = context.dialect.key if context.dialect is not None else ""
    if (name, engine.name) in UNREAD:
        verdict, note = "does not read", UNREAD[(name, engine.name)]
    elif context.checkpoint is None and worst is Outcome.OK:
        verdict, note = "not judged", _why_not_read(context)
    parallel: tuple[ParallelSize, ...] = ()
    if context.checkpoint is not None and verdict != "does not read" and engine.name in SPLITTERS:
        parallel = tuple(
            ParallelSize(size, obstacles(context.checkpoint, engine.name, size)) for size in tensor_parallel
        )
    return MatrixRow(
        engine=engine.name,
        label=engine.label,
        version=engine.version,
        basis=engine.basis,
        verdict=verdict,
        codes={outcome.value: tuple(codes[outcome]) for outcome in Outcome if outcome in codes},
        note=note,
        parallel=parallel,
    )
