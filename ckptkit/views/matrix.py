"""One table for a checkpoint: what each engine makes of it, and with which tensor-parallel sizes.

A verdict has two sources: the findings, as far as engines' tables say what a defect does to them, and what each engine
has for the schemes and kinds of layers in the checkpoint. What neither says is unknown, and unknown is not "loads".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.runner import Report
from ckptkit.engines.base import Effect, Engine, Outcome, Splitting
from ckptkit.engines.gpus import Gpu
from ckptkit.engines.judging import judge, judge_stored, judge_unquantized
from ckptkit.engines.kernels import on_gpu
from ckptkit.engines.layers import Layer
from ckptkit.engines.parallel import obstacles
from ckptkit.engines.registry import asked_about, judged_codes
from ckptkit.engines.support import Answer, Judgement
from ckptkit.formats.reading import FilesUnknown, NoReader, Unquantized
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record
from ckptkit.shown import Look, Shown

#: The worst outcome of a report's findings -> what that means for the engine.
_VERDICTS = {
    Outcome.ERROR: "refuses",
    Outcome.SILENT: "silently wrong",
    Outcome.WARNING: "warns",
    Outcome.UNKNOWN: "unknown",
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


@record
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


@record(repr=False)
class MatrixRow(Shown):
    """One engine's verdict.

    It is "loads", "slow", "warns", "unknown", "silently wrong", "refuses", "does not read" or "not judged". ``codes``
    holds the rules that led to it, by outcome ("error", "silent", "warning", "unknown", "slow"); a note leads to
    nothing.
    ``parts`` holds, by answer ("refused", "silently wrong", "unknown", "slow"), what of the checkpoint the engine does
    not simply have, with its own words; ``kernels``, where the hardware is known, what computes it there. ``minimum``
    says what releases of before do not have, as far as that is known: a release or a date, and what came with it.
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
    kernels: tuple[str, ...] = ()
    minimum: tuple[str, ...] = ()

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
            **({"kernels": list(self.kernels)} if self.kernels else {}),
        }


@record(repr=False)
class Matrix(Shown):
    """The engines' rows, in the order of the engine table, on ``gpu`` if one was named; ``unread`` as in a Report."""

    label: str
    format: str | None
    dialect: str | None
    rows: tuple[MatrixRow, ...]
    gpu: Gpu | None = None
    unread: str = ""

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
            **({"gpu": self.gpu.capability} if self.gpu is not None else {}),
            "engines": [row.to_json() for row in self.rows],
        }


def build_matrix(
    context: Context,
    report: Report,
    tensor_parallel: tuple[int, ...] = (),
    *,
    gpu: Gpu | None = None,
    loading_only: bool = False,
    engines: Collection[str] | None = None,
) -> Matrix:
    """The verdicts on a checkpoint, and the parallel sizes that were asked about; on a kind of hardware, or on any; of
    ``engines``, which the report has to tell of, or of those that nobody has to ask for.

    Effects that are known of older versions only, or under an option, do not count: a row speaks of the version that it
    names, as it is usually run. With ``loading_only`` what stops the first request does not count either.
    """
    asked = _Asked(tensor_parallel, gpu, loading_only)
    rows = tuple(_row(context, report, engine, asked) for engine in asked_about(engines).values())
    return Matrix(report.label, report.format, report.dialect, rows, gpu, report.unread)


@record
class _Asked:
    """What the rows are to say: at which sizes, on which hardware, and whether of the load alone."""

    sizes: tuple[int, ...]
    gpu: Gpu | None
    loading_only: bool

    def counts(self, effect: Effect) -> bool:
        """Whether an effect is seen by who asks."""
        here = effect.current or (self.gpu is not None and self.gpu.capability in effect.gpus)
        return here and effect.outcome.harmful and not (self.loading_only and effect.at_request)


def _why_not_read(context: Context) -> str:
    """Why nothing is said about engines that nothing was found against."""
    found = context.reading
    if isinstance(found, NoReader):
        return f"no reader for this: {found.words}"
    if isinstance(found, Unquantized):
        return found.message
    return "the quantization config could not be read"


def _row(context: Context, report: Report, engine: Engine, asked: _Asked) -> MatrixRow:
    codes = _codes(report, engine.name, asked)
    worst = min(codes, key=list(Outcome).index, default=Outcome.OK)
    verdict, note = _VERDICTS[worst], ""
    checkpoint, reader = context.checkpoint, engine.reader_of(context.dialect_key)
    judgements: tuple[Judgement, ...] = ()
    judged = checkpoint is not None or isinstance(context.reading, Unquantized)
    unheard = _unheard_of(report, engine) if judged else ()
    if isinstance(reader, str):
        verdict, note = "does not read", reader
    elif isinstance(context.reading, Unquantized) and engine.architectures() is not None:
        judgements = tuple(judge_unquantized(engine, context.container, context.dimensions.architecture))
        verdict = _worst(verdict, *(_ANSWERS[judgement.answer] for judgement in judgements))
        note = "" if judgements or worst is not Outcome.OK else context.reading.message
    elif engine.by_storage is not None and _is_beyond_reading(context, report, engine):
        judgements = tuple(judge_stored(engine, context.container, understood=False))
        verdict = _worst(verdict, *(_ANSWERS[judgement.answer] for judgement in judgements))
    elif checkpoint is None:
        if worst is Outcome.OK:
            verdict, note = "not judged", _why_not_read(context)
    elif not _knows_what_is_broken(report, engine):
        pass  # only values that are understood let the rest tell what becomes of a checkpoint
    elif reader is None:
        dialect = context.dialect or checkpoint.format
        verdict, note = _worst(verdict, "unknown"), f"whether {engine.label} reads {dialect}"
    else:
        found = _judged(context, engine, checkpoint, asked.gpu)
        left_out = _left_out(report, engine.name)
        judgements = tuple(j for j in found if _matters(j, left_out))
        verdict = _worst(verdict, *(_ANSWERS[judgement.answer] for judgement in judgements))
    if unheard and verdict in _ORDER:
        verdict = _worst(verdict, "unknown")
    return MatrixRow(
        engine=engine.name,
        label=engine.label,
        version=str(engine.release),
        basis=engine.release.basis,
        verdict=verdict,
        codes={outcome.value: tuple(codes[outcome]) for outcome in Outcome if outcome in codes},
        note=note,
        parts=_parts(judgements, f"what it makes of {', '.join(unheard)}" if unheard else None),
        parallel=_parallel(context, engine, _stops(codes, judgements), asked) if verdict != "does not read" else (),
        kernels=_kernels(judgements),
        minimum=_minimum(engine, context.dimensions.architecture, judgements),
    )


def _judged(context: Context, engine: Engine, checkpoint: Checkpoint, gpu: Gpu | None) -> tuple[Judgement, ...]:
    """An engine's answers, on a kind of hardware or on any."""
    dialect, architecture = context.dialect_key, context.dimensions.architecture
    anywhere = judge(engine, checkpoint, dialect, architecture)
    return anywhere if gpu is None else tuple(on_gpu(engine, anywhere, dialect, architecture, gpu))


def _stops(codes: Mapping[Outcome, Iterable[str]], judgements: Iterable[Judgement]) -> tuple[str, ...]:
    """Why an engine stops, on however many devices."""
    found = [f"{', '.join(codes[Outcome.ERROR])} (stops)"] if Outcome.ERROR in codes else []
    return (*found, *_parts(judgements).get(Answer.REFUSED.value, ()))


def _parallel(context: Context, engine: Engine, stops: tuple[str, ...], asked: _Asked) -> tuple[ParallelSize, ...]:
    """The sizes that were asked about. What stops one device, or has no kernel on it, stops several too."""
    checkpoint, gpu = context.checkpoint, asked.gpu
    if checkpoint is None or engine.splitting is Splitting.NONE:
        return ()
    capability = None if gpu is None else gpu.capability
    return tuple(
        ParallelSize(size, (*stops, *obstacles(checkpoint, engine, size, context.dialect_key, capability)))
        for size in asked.sizes
    )


def _is_beyond_reading(context: Context, report: Report, engine: Engine) -> bool:
    """Whether only the config was not understood, or is one that an engine is not known to read: all files are there,
    and who goes by what is stored needs no more."""
    if isinstance(context.reading, FilesUnknown):
        return False
    known = context.checkpoint is not None and _knows_what_is_broken(report, engine)
    return not known or engine.reader_of(context.dialect_key) is None


def _knows_what_is_broken(report: Report, engine: Engine) -> bool:
    """Whether it is known what an engine makes of the values that were not understood, if there are any."""
    return not any(engine.name in finding.unheard for finding in report.findings)


def _codes(report: Report, engine: str, asked: _Asked) -> dict[Outcome, dict[str, None]]:
    """The rules whose findings hit an engine, by what they do. Notes do not count: nothing breaks."""
    codes: dict[Outcome, dict[str, None]] = {}
    for finding in report.findings:
        if finding.severity is not Severity.INFO:
            for effect in finding.engines:
                if effect.engine == engine and asked.counts(effect):
                    codes.setdefault(effect.outcome, {})[finding.code] = None
    return codes


def _left_out(report: Report, engine: str) -> frozenset[Layer]:
    """The kinds of layers that an engine loads nothing of, for what was found: it makes nothing of their schemes."""
    effects = (e for finding in report.findings for e in finding.engines if e.engine == engine and e.current)
    return frozenset(layer for effect in effects for layer in effect.leaves_out)


def _matters(judgement: Judgement, left_out: frozenset[Layer]) -> bool:
    """Whether an answer is of what an engine loads; it may stop at what it would leave out, a cache's names."""
    part = judgement.part
    if part is None or part.layer not in left_out:
        return True
    return part.layer is Layer.KV_CACHE and judgement.answer is Answer.REFUSED


def _unheard_of(report: Report, engine: Engine) -> tuple[str, ...]:
    """The rules whose errors stop or mislead some engine, and of which nothing is known in this one, and those of
    values that were not understood, and of which it is not known what this one makes."""
    open_codes = judged_codes() - engine.codes
    errors = (error.code for error in report.errors if error.code in open_codes)
    values = (finding.code for finding in report.findings if engine.name in finding.unheard)
    return tuple(dict.fromkeys((*errors, *values)))


def _parts(judgements: Iterable[Judgement], unknown: str | None = None) -> dict[str, tuple[str, ...]]:
    """What is not simply supported, by answer, the worst first; kinds of layers with one scheme and fate together.
    ``unknown`` is what else is not known."""
    found: dict[Answer, dict[tuple[str, str], list[str]]] = {}
    if unknown is not None:
        found[Answer.UNKNOWN] = {("", unknown): []}
    for judgement in judgements:
        if judgement.answer is not Answer.SUPPORTED:
            scheme = judgement.part.scheme if judgement.part is not None else ""
            layer = [judgement.part.layer.value] if judgement.part is not None else []
            found.setdefault(judgement.answer, {}).setdefault((scheme, judgement.words), []).extend(layer)
    return {answer.value: tuple(map(_sentence, found[answer].items())) for answer in Answer if answer in found}


def _kernels(judgements: Iterable[Judgement]) -> tuple[str, ...]:
    """What computes which parts; kinds of layers with one scheme and kernel together."""
    found: dict[tuple[str, str], list[str]] = {}
    for judgement in judgements:
        if judgement.kernel and judgement.part is not None:
            layers = found.setdefault((judgement.part.scheme, judgement.kernel), [])
            layers.append(judgement.part.layer.value)
    return tuple(map(_sentence, found.items()))


def _minimum(engine: Engine, architecture: str | None, judgements: Iterable[Judgement]) -> tuple[str, ...]:
    """What is not in every release: from which on the engine has the model class, and each scheme."""
    found: dict[str, list[str]] = {}
    if architecture is not None and architecture in engine.newer:
        found[engine.newer[architecture]] = [architecture]
    for judgement in judgements:
        if judgement.part is not None and judgement.since:
            # Rows of both tables give dates: what came last came with all of it.
            found.setdefault(max(judgement.since), []).append(judgement.part.scheme)
    return tuple(f"{since}, for {', '.join(dict.fromkeys(what))}" for since, what in found.items())


def _sentence(group: tuple[tuple[str, str], list[str]]) -> str:
    (scheme, words), layers = group
    what = f"{', '.join(dict.fromkeys(layers))} with {scheme}" if layers else ""
    return ": ".join(text for text in (what, words) if text)


def _worst(*verdicts: str) -> str:
    return min(verdicts, key=_ORDER.index)
