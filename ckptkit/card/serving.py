"""What a model card says of serving: the engine that is known to read a checkpoint, its command, and its kernels.

All of it comes from the engines' own tables. What they do not say is not said either.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ckptkit.card.markdown import code, fenced, shell_word
from ckptkit.engines.base import Engine
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.gpus import GPUS, Gpu
from ckptkit.engines.judging import judge
from ckptkit.engines.kernels import on_gpu
from ckptkit.engines.launch import Launch
from ckptkit.engines.layers import Layer
from ckptkit.engines.registry import asked_about
from ckptkit.engines.support import Answer, Judgement
from ckptkit.formats import registry
from ckptkit.model.checkpoint import Checkpoint

_WORST_FIRST = list(Answer)
_STOPS = frozenset({Answer.REFUSED, Answer.SILENT})
_SERVES = frozenset({Answer.SUPPORTED, Answer.SLOW})


def serving(checkpoint: Checkpoint, name: str) -> str:
    """The command that serves ``name`` and what computes it on which hardware; a sentence where no engine is known."""
    detected = registry.detect(checkpoint.container)
    dialect = "" if detected is None else detected[1].key
    architecture = Dimensions.of(checkpoint.container.config).architecture
    for engine in asked_about().values():
        launch = engine.launch
        if launch is None or engine.reader_of(dialect) is not True:
            continue
        answers = judge(engine, checkpoint, dialect, architecture)
        if all(answer.answer in _SERVES for answer in answers):
            kernels = "\n".join(_kernels(engine, answers, dialect, architecture))
            command = fenced(_command(launch, checkpoint, name), "sh")
            return f"Serve with {engine.label}:\n\n{command}\n\nWhat {engine.label} {engine.release} has:\n\n{kernels}"
    return "No engine is known to serve it."


def served_name(section: str) -> str | None:
    """The name that a section tells people to serve."""
    launches = (engine.launch for engine in asked_about().values() if engine.launch is not None)
    commands = "|".join(re.escape(shlex.join(launch.command)) for launch in launches)
    match = re.search(rf"^(?:{commands}) (.{{1,4000}})", section, re.MULTILINE)
    try:
        return shlex.split(match[1])[0] if match else None
    except (ValueError, IndexError):
        return None


def _command(launch: Launch, checkpoint: Checkpoint, name: str) -> str:
    cache = checkpoint.kv_cache
    options = launch.kv_cache if cache is not None and cache.scheme is not None else ()
    return " ".join((shlex.join(launch.command), shell_word(name), *options))


def _kernels(engine: Engine, answers: tuple[Judgement, ...], dialect: str, architecture: str | None) -> Iterator[str]:
    """A line for each thing that becomes of the weights, with the hardware on which it does, the best first."""
    weights = [answer for answer in answers if answer.part is not None and answer.part.layer is not Layer.KV_CACHE]
    found: dict[tuple[int, str], list[Gpu]] = {}
    for gpu in GPUS:
        here = list(on_gpu(engine, weights, dialect, architecture, gpu))
        if here:
            worst = min(_WORST_FIRST.index(judgement.answer) for judgement in here)
            found.setdefault((-worst, _words(here, _WORST_FIRST[worst])), []).append(gpu)
    for (_, words), gpus in sorted(found.items()):
        yield f"- {words}: {', '.join(map(str, gpus))}"


def _words(judgements: list[Judgement], worst: Answer) -> str:
    """What becomes of weights that one kind of hardware computes."""
    if worst is Answer.UNKNOWN:
        return "not known"
    decisive = [judgement for judgement in judgements if judgement.answer is worst]
    why = ", ".join(dict.fromkeys(code(judgement.words) for judgement in decisive if judgement.words))
    if worst in _STOPS:
        return f"{worst.value} ({why})" if why else worst.value
    kernels = ", ".join(dict.fromkeys(judgement.kernel for judgement in judgements if judgement.kernel))
    return f"{kernels or worst.value}{f', {worst.value} ({why})' if worst is Answer.SLOW else ''}"
