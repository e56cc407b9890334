"""Which kernels an engine has on which hardware, for which schemes in which kinds of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ckptkit.engines.base import Engine
from ckptkit.engines.gpus import Gpu
from ckptkit.engines.support import Answer, Judgement, Support
from ckptkit.record import record

_RUNS = (Answer.SUPPORTED, Answer.SLOW)


@record
class Kernel(Support):
    """One row: what an engine makes of schemes on kinds of hardware. The first row that fits counts.

    It speaks of what the engine has somewhere: formats without any mean all that it reads. ``gpus`` holds capabilities,
    ``name`` says what computes it. ``words`` are the engine's own where it refuses, and say what is slow about the
    rest.
    """

    gpus: tuple[str, ...] = ()
    name: str = ""


def on_gpu(
    engine: Engine, judgements: Iterable[Judgement], dialect: str, architecture: str | None, gpu: Gpu
) -> Iterator[Judgement]:
    """An engine's answers where a kind of hardware computes them. What no row speaks of is unknown there."""
    release = engine.release_for("kernels")
    rows = [row for row in engine.kernels() if gpu.capability in row.gpus]
    rows = [row for row in rows if row.versions is None or row.versions.holds(release)]
    for judgement in judgements:
        part = judgement.part
        if part is None or judgement.answer not in _RUNS:
            yield judgement
            continue
        row = next((row for row in rows if row.fits(part, dialect, architecture or "")), None)
        if row is None:
            words = f"whether {engine.label} has a kernel for it on {gpu.capability}"
            yield replace(judgement, answer=Answer.UNKNOWN, words=words)
        else:
            worst = min(row.answer, judgement.answer, key=list(Answer).index)
            since = (*judgement.since, *row.since)
            yield Judgement(part, worst, row.words or judgement.words, row.name, since)
