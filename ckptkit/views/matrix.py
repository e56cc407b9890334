"""One table for a checkpoint: what each engine makes of it, and with which tensor-parallel sizes.

A verdict has two sources: the findings, as far as engines' tables say what a defect does to them, and what each engine
has for the schemes and kinds of layers in the checkpoint. What neither says is unknown, and unknown is not "loads".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.runner import Report
from ckptkit.engines.base import Engine, Outcome, Splitting
from ckptkit.engines.parallel import obstacles
from ckptkit.engines.registry import engines
from ckptkit.engines.support import Answer, Judgement, judge, judge_class
from ckptkit.formats.reading import BrokenConfig, NoReader, Unquantized
from ckptkit.shown import Look, Shown

#: The worst outcome of a report's findings -> what that means for the engine.
_VERDICTS = {
    Outcome.ERROR: "refuses",
    Outcome.SILENT: "silently wrong",
    Outcome.WARNING: "warns",
    Outcome.SLOW: "slow",
    Outcome.OK: "loads",
}
_ANSWERS = {
    Answer.REFUSED: "refuses",
    Answer.SILENT: "silently wrong",
    Answer.UNKNOWN: "unknown",
    Answer.SLOW: "slow",
    Answer.SUPPORTED: "loads",
}
#: The worst first. What is unknown may be as bad as anything, but what is known to go wrong goes wrong.
_ORDER = ("refuses", "silently wrong", "warns", "unknown", "slow", "loads")


@dataclass(frozen=True)
class ParallelSize:
    """Whether an engine can split the checkpoint over ``size`` devices, and what stands in the way."""

    size: int
    obstacles: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.obstacles

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"size": self.size, "works": self.works, "obstacles": list(self.obstacles)}


@dataclass(frozen=True, repr=False)
class MatrixRow(Shown):
    """One engine's verdict.

    It is "loads", "slow", "warns", "unknown", "silently wrong", "refuses", "does not read" or "not judged". ``codes``
    holds the rules that led to it, by outcome ("error", "silent", "warning", "slow"); a note leads to nothing.
    ``parts`` holds, by answer ("refused", "silently wrong", "unknown", "slow"), what of the checkpoint the engine does
    not simply have, with its own words.
    """

    engine: str
    label: str
    version: str
    basis: str
    verdict: str
    codes: dict[str, tuple[str, ...]]
    note: str = ""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parallel: tuple[ParallelSize, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        """What led to the verdict: rules, then parts, then the note."""
        codes = [", ".join(codes) for codes in self.codes.values()]
        parts = [f"{answer}: {part}" for answer, parts in self.parts.items() for part in parts]
        return (*codes, *parts, *([self.note] if self.note else ()))

    def _look(self) -> Look:
        name, reasons = f"{self.label} {self.version}", [(reason,) for reason in self.why]
        return Look(name, [self.verdict, *self.why], ("because of",), reasons, len(reasons))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "engine": self.engine,
            "label": self.label,
            "version": self.version,
            "basis": self.basis,
            "verdict": self.verdict,
            "codes": {outcome: list(codes) for outcome, codes in self.codes.items()},
            "note": self.note,
            "parts": {answer: list(parts) for answer, parts in self.parts.items()},
            "parallel": [size.to_json() for size in self.parallel],
        }


@dataclass(frozen=True, repr=False)
class Matrix(Shown):
    """Every engine's row, in the order of the engine table."""

    label: str
    format: str | None
    dialect: str | None
    rows: tuple[MatrixRow, ...]

    def of(self, engines: Collection[str] | None) -> Matrix:
        """The rows of these engines; of all for None."""
        return self if engines is None else replace(self, rows=tuple(r for r in self.rows if r.engine in engines))

    def _look(self) -> Look:
        verdicts = [f"{row.engine} {row.verdict}" for row in self.rows]
        rows = (
            (row.label, row.version, row.verdict, [str(size.size) for size in row.parallel if size.works], row.why)
            for row in self.rows
        )
        columns = ("engine", "version", "verdict", "tensor parallel", "because of")
        return Look(self.label, verdicts, columns, rows, len(self.rows))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "path": self.label,
            "format": self.format,
            "dialect": self.dialect,
            "engines": [row.to_json() for row in self.rows],
        }


def build_matrix(
    context: Context, report: Report, tensor_parallel: tuple[int, ...] = (), *, loading_only: bool = False
) -> Matrix:
    """The verdicts on a checkpoint, and the parallel sizes that were asked about.

    Effects that are known of older versions only, or under an option, do not count: a row speaks of the version that it
    names, as it is usually run. With ``loading_only`` what stops the first request does not count either.
    """
    rows = tuple(_row(context, report, engine, tensor_parallel, loading_only) for engine in engines().values())
    return Matrix(report.label, report.format, report.dialect, rows)


def _why_not_read(context: Context) -> str:
    """Why nothing is said about engines that nothing was found against."""
    found = context.reading
    if isinstance(found, NoReader):
        return f"no reader for this: {found.words}"
    if isinstance(found, Unquantized):
        return found.message
    return "the quantization config could not be read"


def _row(
    context: Context, report: Report, engine: Engine, tensor_parallel: tuple[int, ...], loading_only: bool
) -> MatrixRow:
    codes = _codes(report, engine.name, loading_only)
    worst = min(codes, key=list(Outcome).index, default=Outcome.OK)
    verdict, note = _VERDICTS[worst], ""
    checkpoint, reader = context.checkpoint, engine.reader_of(context.dialect_key)
    judgements: tuple[Judgement, ...] = ()
    if isinstance(reader, str):
        verdict, note = "does not read", reader
    elif isinstance(context.reading, Unquantized) and engine.architectures() is not None:
        architecture = context.dimensions.architecture
        judgements = tuple(judge_class(engine, context.container, architecture, quantized=False))
        verdict = _worst(verdict, *(_ANSWERS[judgement.answer] for judgement in judgements))
        note = "" if judgements or worst is not Outcome.OK else context.reading.message
    elif checkpoint is None or not _knows_what_is_broken(context, report, engine):
        if worst is Outcome.OK:
            verdict, note = "not judged", _why_not_read(context)
    elif reader is None:
        dialect = context.dialect or checkpoint.format
        verdict, note = _worst(verdict, "unknown"), f"whether {engine.label} reads {dialect}"
    else:
        judgements = judge(engine, checkpoint, context.dialect_key, context.dimensions.architecture)
        verdict = _worst(verdict, *(_ANSWERS[judgement.answer] for judgement in judgements))
    if verdict in ("loads", "slow"):
        doubts = tuple(_doubts(report, engine))
        judgements, verdict = (*judgements, *doubts), "unknown" if doubts else verdict
    parallel: tuple[ParallelSize, ...] = ()
    if checkpoint is not None and verdict != "does not read" and engine.splitting is not Splitting.NONE:
        parallel = tuple(ParallelSize(size, obstacles(checkpoint, engine.splitting, size)) for size in tensor_parallel)
    return MatrixRow(
        engine=engine.name,
        label=engine.label,
        version=str(engine.release),
        basis=engine.release.basis,
        verdict=verdict,
        codes={outcome.value: tuple(codes[outcome]) for outcome in Outcome if outcome in codes},
        note=note,
        parts=_parts(judgements),
        parallel=parallel,
    )


def _knows_what_is_broken(context: Context, report: Report, engine: Engine) -> bool:
    """Whether it is known what an engine makes of the values that were not understood, if there are any: only then
    does the rest tell what becomes of the checkpoint."""
    if not isinstance(context.reading, BrokenConfig):
        return True
    told = {fault.message for fault in context.reading.faults}
    codes = {finding.code for finding in report.findings if finding.message in told}
    return codes <= {key.partition("/")[0] for key in engine.outcomes()}


def _doubts(report: Report, engine: Engine) -> Iterator[Judgement]:
    """What an engine's table says nothing of: somebody suffers from an error, and whether this engine does is open."""
    told = {key.partition("/")[0] for key in engine.outcomes()}
    errors = dict.fromkeys(f.code for f in report.findings if f.severity is Severity.ERROR and f.code not in told)
    if errors:
        yield Judgement(None, Answer.UNKNOWN, f"what {engine.label} makes of {', '.join(errors)}")


def _codes(report: Report, engine: str, loading_only: bool) -> dict[Outcome, dict[str, None]]:
    """The rules whose findings hit an engine, by what they do. Notes do not count: nothing breaks."""
    codes: dict[Outcome, dict[str, None]] = {}
    for finding in report.findings:
        if finding.severity is not Severity.INFO:
            for effect in finding.engines:
                if (
                    effect.engine == engine
                    and effect.outcome.harmful
                    and effect.current
                    and not (loading_only and effect.at_request)
                ):
                    codes.setdefault(effect.outcome, {})[finding.code] = None
    return codes


def _parts(judgements: Iterable[Judgement]) -> dict[str, tuple[str, ...]]:
    """What is not simply supported, by answer, the worst first; kinds of layers with one scheme and fate together."""
    found: dict[Answer, dict[tuple[str, str], list[str]]] = {}
    for judgement in judgements:
        if judgement.answer is not Answer.SUPPORTED:
            scheme = judgement.part.scheme if judgement.part is not None else ""
            layer = [judgement.part.layer.value] if judgement.part is not None else []
            found.setdefault(judgement.answer, {}).setdefault((scheme, judgement.words), []).extend(layer)
    return {answer.value: tuple(map(_sentence, found[answer].items())) for answer in Answer if answer in found}


def _sentence(group: tuple[tuple[str, str], list[str]]) -> str:
    (scheme, words), layers = group
    what = f"{', '.join(dict.fromkeys(layers))} with {scheme}" if layers else ""
    return ": ".join(text for text in (what, words) if text)


def _worst(*verdicts: str) -> str:
    return min(verdicts, key=_ORDER.index)
