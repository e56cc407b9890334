"""How an engine is started so that it serves a checkpoint as it is meant: the command, each option with its reason.

Of an engine that converts, it is the command that converts, and a note says what serves what it writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.runner import Report
from ckptkit.engines.base import Eager, Engine
from ckptkit.engines.gpus import Gpu
from ckptkit.engines.launch import Launch
from ckptkit.engines.registry import engines
from ckptkit.errors import UsageError, plural
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.views.matrix import MatrixRow, ParallelSize, build_matrix

#: The tensor-parallel sizes that are spoken of where none is asked for.
USUAL_SIZES = (1, 2, 4, 8)
#: Verdicts after which there is nothing to start.
_BROKEN = frozenset({"refuses", "silently wrong", "does not read", "not judged"})


@record
class Option:
    """Words of a command line, and why this checkpoint needs them."""

    words: tuple[str, ...]
    why: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"words": list(self.words), "why": self.why}


@record(repr=False)
class Serving(Shown):
    """What it takes to serve a checkpoint with an engine.

    ``command`` is empty where the engine does not serve it, which ``refusals`` explain. ``parallel`` holds the sizes
    that were looked at, ``notes`` what there is to know besides; ``minimum`` releases, or their dates, before which the
    engine cannot, each with what came then; ``gpu`` is the kind of hardware that was asked about.
    """

    label: str
    engine: str
    engine_label: str
    version: str
    verdict: str
    command: tuple[str, ...]
    options: tuple[Option, ...]
    parallel: tuple[ParallelSize, ...]
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    minimum: tuple[str, ...] = ()
    gpu: Gpu | None = None

    def _look(self) -> Look:
        facts = [
            f"{self.engine_label} {self.version}",
            self.verdict,
            self.line or plural(len(self.refusals), "refusal"),
        ]
        rows = [(shlex.join(option.words), option.why) for option in self.options] if self.works else []
        rows += [("refused", reason) for reason in self.refusals] + [("note", note) for note in self.notes]
        return Look(self.label, facts, ("option", "why"), rows, len(rows))

    @property
    def works(self) -> bool:
        """Whether there is a command."""
        return bool(self.command)

    @property
    def broken(self) -> bool:
        """Whether it is not served on any number of devices, nor otherwise: ``validate`` says more of it."""
        return self.verdict in _BROKEN

    @property
    def line(self) -> str:
        """The command for a shell."""
        return shlex.join(self.command)

    def to_json(self) -> dict[str, Any]:
        """As described by ``schemas/serving.json``."""
        return {
            "path": self.label,
            "engine": self.engine,
            "version": self.version,
            "verdict": self.verdict,
            "command": list(self.command),
            "options": [option.to_json() for option in self.options],
            "parallel": [size.to_json() for size in self.parallel],
            "refusals": list(self.refusals),
            "notes": list(self.notes),
            "minimum": list(self.minimum),
            "gpu": None if self.gpu is None else self.gpu.capability,
        }


def serving(
    context: Context, report: Report, engine: Engine, path: str, size: int | None = None, gpu: Gpu | None = None
) -> Serving:
    """The command that serves ``path``, which ``context`` and its ``report`` are about, over ``size`` devices.

    ``gpu`` is their kind. Raises UsageError for an engine of which nobody knows how it is started.
    """
    launch = engine.launch
    if launch is None:
        known = ", ".join(name for name, other in engines().items() if other.launch is not None)
        raise UsageError(f"how {engine.label} is started is not known", help=f"--for takes {known}")
    sizes = tuple(sorted({*USUAL_SIZES, size or 1}))
    (row,) = build_matrix(context, report, sizes, gpu=gpu, engines=(engine.name,)).rows
    refusals = [*_refusals(row)]
    if size is not None and size > 1 and not launch.tensor_parallel:
        refusals.append(f"over {size} devices: {engine.label} converts, and splits nothing")
    broken = row.verdict in _BROKEN
    stand = [obstacle for one in row.parallel if one.size == size and not broken for obstacle in one.obstacles]
    refusals += [f"over {size} devices: {obstacle}" for obstacle in stand]
    eager = [fact for fact in engine.eager() if _concerns(fact, context, gpu)]
    options = (*_options(context, engine, launch), *_eager(engine, launch, eager), *_split(launch, size))
    name, revision = _named(path)
    if revision and launch.revision:
        options = (Option((launch.revision, revision), "the revision that was judged"), *options)
    elif revision:
        refusals.append(f"{engine.label} takes no revision of a repository: download {name} at {revision} first")
    written = f"{name.rstrip('/').rpartition('/')[2]}{launch.ending}"
    if launch.output:
        options = (*options, Option((launch.output, written), "otherwise it is written into the checkpoint's folder"))
    if launch.remote and name != path:
        options = (*options, Option((launch.remote,), "from the Hub, without downloading the weights first"))
    words = [word for option in options for word in option.words]
    return Serving(
        label=report.label,
        engine=engine.name,
        engine_label=engine.label,
        version=str(engine.release),
        verdict=row.verdict,
        command=() if refusals else (*launch.command, name, *words),
        options=options,
        parallel=() if broken else row.parallel,
        refusals=tuple(refusals),
        notes=()
        if broken
        else (
            *_notes(context, engine, row),
            *_eager_notes(engine, launch, eager),
            *(() if refusals else _then(launch, written)),
        ),
        minimum=() if broken else row.minimum,
        gpu=gpu,
    )


def _named(path: str) -> tuple[str, str]:
    """What an engine calls a checkpoint, and the revision that a URL of the Hub names."""
    if not path.startswith("hf://"):
        return path, ""
    name, _, revision = path.removeprefix("hf://").partition("@")
    return name, revision


def _refusals(row: MatrixRow) -> Iterator[str]:
    """Why the engine does not serve it, or does so wrongly."""
    if row.verdict not in _BROKEN:
        return
    if row.note:
        yield row.note
    for outcome in ("error", "silent"):
        if outcome in row.codes:
            yield f"{', '.join(row.codes[outcome])} ({'stops' if outcome == 'error' else 'silently wrong'})"
    for answer in ("refused", "silently wrong"):
        yield from row.parts.get(answer, ())


def _options(context: Context, engine: Engine, launch: Launch) -> Iterator[Option]:
    """The options that config and tensors ask for."""
    checkpoint = context.checkpoint
    cache = checkpoint.kv_cache if checkpoint is not None else None
    told = cache is not None and cache.scheme is not None and context.dialect_key not in engine.follows_kv_cache
    if cache is not None and told and launch.kv_cache:
        scales = sum(bool(attention.stored()) for attention in cache.attention)
        held = f"{plural(scales, 'attention layer')} with FP8 KV scales" if scales else "an FP8 KV cache is declared"
        yield Option(launch.kv_cache, f"{held}: {engine.label} does not follow this format's declaration by itself")
    architecture, known = context.dimensions.architecture, engine.architectures()
    if launch.remote_code and "auto_map" in context.config and known is not None and architecture not in known:
        why = f"config.json brings code of its own, and {engine.label} has no {architecture or 'class of this name'}"
        yield Option((launch.remote_code,), f"{why}: read that code first")


def _concerns(fact: Eager, context: Context, gpu: Gpu | None) -> bool:
    """Whether a fact about CUDA graphs is one about this checkpoint, on this hardware if it is known."""
    checkpoint = context.checkpoint
    others = {scheme.name for scheme in checkpoint.other_schemes} if checkpoint is not None else set()
    architecture = context.dimensions.architecture or ""
    return (
        (not fact.architectures or architecture.startswith(fact.architectures))
        and (not fact.others or bool(others.intersection(fact.others)))
        and (not fact.gpus or gpu is None or gpu.capability in fact.gpus)
    )


def _eager(engine: Engine, launch: Launch, facts: list[Eager]) -> Iterator[Option]:
    """What runs without CUDA graphs only, in the release that is judged and on the hardware that is asked about."""
    why = [f"{fact.why} ({fact.where})" for fact in facts if not fact.by_itself and fact.versions.holds(engine.release)]
    if why:
        yield Option(launch.eager, "; ".join(why))


def _eager_notes(engine: Engine, launch: Launch, facts: list[Eager]) -> Iterator[str]:
    for fact in facts:
        where = f" on {', '.join(fact.gpus)}" if fact.gpus else ""
        if fact.by_itself:
            yield f"{engine.label} runs it without CUDA graphs by itself{where}: {fact.why}"
        elif not fact.versions.holds(engine.release):
            versions = f"{engine.label} {fact.versions}"
            yield f"{versions}{where}: {fact.why} ({fact.where}); {shlex.join(launch.eager)} goes round it"


def _then(launch: Launch, written: str) -> Iterator[str]:
    if launch.then:
        yield f"{shlex.join((*launch.then, written))} serves what it writes"


def _split(launch: Launch, size: int | None) -> Iterator[Option]:
    if size is not None and size > 1 and launch.tensor_parallel:
        yield Option((launch.tensor_parallel, str(size)), f"over {size} devices, as asked for")


def _notes(context: Context, engine: Engine, row: MatrixRow) -> Iterator[str]:
    """What is good to know before starting it."""
    checkpoint = context.checkpoint
    cache = checkpoint.kv_cache if checkpoint is not None else None
    if cache is not None and cache.scheme is not None and context.dialect_key in engine.follows_kv_cache:
        yield f"the checkpoint switches an FP8 KV cache on by itself: {engine.label} follows its declaration"
    if row.verdict == "unknown":
        found = (", ".join(row.codes.get("unknown", ())), row.note, *row.parts.get("unknown", ()))
        words = "; ".join(filter(None, found))
        yield f"nobody has seen whether {engine.label} serves this right: {words}"
    for outcome, what in (("warning", "goes on with a warning"), ("slow", "takes a slow path")):
        if outcome in row.codes:
            yield f"{engine.label} {what}: {', '.join(row.codes[outcome])}"
    for words in row.parts.get("slow", ()):
        yield f"{engine.label} takes a slow path: {words}"
