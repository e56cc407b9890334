"""What an engine makes of a checkpoint: its answers to every part, and to the model class."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckptkit.engines.base import ByModelType, Engine
from ckptkit.engines.dialects import fact_of
from ckptkit.engines.dimensions import Dimensions, text_level
from ckptkit.engines.layers import Layer
from ckptkit.engines.model_types import class_of
from ckptkit.engines.releases import Range
from ckptkit.engines.stored_types import judge_types
from ckptkit.engines.support import Answer, Judgement, Part, parts_of
from ckptkit.engines.targets import targets_by_group
from ckptkit.model import names
from ckptkit.model.census import is_quantizer_name
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import Container

#: What scales are called beside a weight by readers that give them no other name.
_PLAIN_SCALE = ".scale"


def judge_class(
    engine: Engine, container: Container, architecture: str | None, *, quantized: bool
) -> Iterator[Judgement]:
    """What is not as it should be for a model class: one that the engine is not known to have, or a module that it
    does not have."""
    classes, named = engine.architectures(), Dimensions.of(container.config).architecture
    unnamed = named is None and engine.by_model_type is not ByModelType.NEVER
    is_base = (architecture or "").endswith("Model") and engine.by_model_type is ByModelType.ALWAYS
    strange = classes is not None and architecture not in classes and engine.by_model_type is ByModelType.ALWAYS
    if classes is not None and (unnamed or strange):
        architecture = class_of(container.config.get("model_type"), classes) or architecture
    architecture = engine.served_as(architecture)
    known = engine.modules().get(architecture or "")
    if engine.stand_in is not None and architecture in engine.stand_in.refused():
        words = f"{engine.label} has no {architecture}, and that of transformers lets nobody take over its attention"
        yield Judgement(None, Answer.REFUSED, words)
    elif named is None and (classes or classes is None) and engine.by_model_type is ByModelType.NEVER:
        words = f"{engine.label} goes by the architecture alone, and config.json names none"
        yield Judgement(None, Answer.REFUSED, words)
    elif classes is not None and architecture not in classes and known is None:
        words = f"whether {engine.label} has {architecture or 'this model: config.json names no architecture'}"
        yield Judgement(None, Answer.UNKNOWN, words)
    yield from _judge_model_type(engine, container)
    text = text_level(container.config)
    owner, keys = engine.wanted_keys.get(str(text.get("model_type")), ("", ()))
    holder = text.get(owner) if owner else text
    unsaid = next((key for key in keys if holder.get(key) is None), None) if isinstance(holder, Mapping) else None
    if unsaid is not None:
        what = f"the first request stops without {owner}.{unsaid}" if owner else f"it stops without {unsaid}"
        yield Judgement(None, Answer.REFUSED, f"{what} in config.json")
    demand = engine.key_demands.get(str(text.get("model_type")))
    broken = demand.broken_by(text) if demand is not None else None
    if broken is not None:
        yield Judgement(None, Answer.REFUSED, f"it stops at {broken} in config.json")
    if known is not None and any(entry.name == known.unless for entry in container.side_files):
        yield Judgement(None, Answer.UNKNOWN, f"{known.unless} makes another model of {architecture}")
    elif known is not None:
        tensors = container.tensors.values()
        modules = known.looked_up(t.module for t in tensors if not known.whole or t.name.endswith(".weight"))
        dimensions = Dimensions.of(container.config)
        stranger = known.stranger(modules, dimensions.layers)
        tower = known.strange_tower(container.config)
        if tower is not None:
            yield Judgement(None, Answer.REFUSED, f"{architecture} has no vision tower of the type {tower}")
        odd = known.odd_parameter(known.looked_up(container.tensors)) if stranger is None else None
        if stranger is not None:
            yield Judgement(None, Answer.REFUSED, f"{architecture} has no module {stranger}")
        if odd is not None:
            yield Judgement(None, Answer.REFUSED, f"{architecture} has no parameter {odd}")
        strayed = known.strayed(modules)
        if strayed is not None:
            fate = "and FP8 numbers cannot be made up" if quantized else "all of it is made up"
            answer = Answer.REFUSED if quantized else Answer.SILENT
            yield Judgement(None, answer, f"{architecture} looks for no layers by names like {strayed}, {fate}")
        # Where config.json names a class without a head, that class is loaded, and nothing asks for one.
        tied = container.config.get("tie_word_embeddings") is True or (is_base and _lacks_head(container))
        tied = tied or (known.whole and text.get("tie_word_embeddings") is True)
        absent = known.absent(modules, dimensions.layers, tied=tied, quantized=quantized)
        absent = absent or next((name for name in known.parameters if name not in container.tensors), None)
        absent = absent or known.unaccompanied(container.tensors, dimensions.layers)
        if absent is not None and known.stops_at(absent, quantized=quantized):
            why = "and it wants all that it builds" if known.whole else "and FP8 numbers cannot be made up"
            yield Judgement(None, Answer.REFUSED, f"nothing fills {absent}, {why}")
        elif absent is not None:
            fate = "it is listed and made up" if known.lists else "and nobody looks"
            yield Judgement(None, Answer.SILENT, f"nothing fills {absent}, {fate}")


def _judge_model_type(engine: Engine, container: Container) -> Iterator[Judgement]:
    """A model type that the engine's newest release does not know: a folder's own code may know it."""
    known, model_type = engine.model_types(), container.config.get("model_type")
    if not known or not isinstance(model_type, str):
        return
    since = known.get(model_type)
    if since is None or not Range(since=since).holds(engine.release_for("support")):
        own = container.config.get("auto_map")
        is_own = isinstance(own, Mapping) and "AutoConfig" in own
        later = f" before {since}" if since else ""
        words = f"it knows no model type {model_type}{later}{', and the folder has code of its own' if is_own else ''}"
        yield Judgement(None, Answer.UNKNOWN if is_own else Answer.REFUSED, words)


def _lacks_head(container: Container) -> bool:
    """Whether no head is stored, and the config does not say that it is the embedding."""
    levels = (container.config, text_level(container.config))
    tied = any(level.get("tie_word_embeddings") is True for level in levels)
    return not tied and not any(names.is_head(tensor.module) for tensor in container.tensors.values())


def judge_demands(
    engine: Engine, container: Container, dialect: str, others: Collection[str] = ()
) -> Iterator[Judgement]:
    """What an engine stops at whatever the scheme is: a key that the config lacks, a type that it does not know, and
    the first tensor beside weights that it has no use for, ``others`` aside."""
    demands, tensors = engine.demands_of(dialect), container.tensors
    if demands is not None:
        block = container.config.get("quantization_config")
        absent = [key for key in demands.keys if isinstance(block, Mapping) and not _holds(block, key)]
        if absent:
            yield Judgement(None, Answer.REFUSED, f"it wants {' and '.join(absent)} in the quantization config")
        if demands.some and isinstance(block, Mapping) and not any(block.get(key) for key in demands.some):
            yield Judgement(None, Answer.REFUSED, f"it wants something in {' or '.join(demands.some)}")
        strange = next((t for t in tensors.values() if t.dtype in demands.dtypes), None) if demands.dtypes else None
        if strange is not None:
            yield Judgement(None, Answer.REFUSED, f"it does not know the type of {strange.name}, {strange.dtype}")
        strange_part = next((name for name in tensors if _is_misnumbered(name, demands.numbered)), None)
        if strange_part is not None:
            yield Judgement(None, Answer.REFUSED, f"it takes the end of {strange_part} for a number")
        deep = next((t for t in tensors.values() if t.name.endswith(demands.single) and len(t.shape) > 1), None)
        if deep is not None and demands.single:
            words = f"it wants {deep.name} without dimensions, or with one, and not {list(deep.shape)}"
            yield Judgement(None, Answer.REFUSED, words)
        own = (name for name in tensors if name not in others)
        stored = (name for name in own if is_quantizer_name(name) or _beside_weight(name, tensors))
        taken = (*demands.takes, *demands.drops)
        odd = next((name for name in stored if not name.endswith(taken) and names.other_tower(name) is None), None)
        if odd is not None and demands.words:
            yield Judgement(None, Answer.REFUSED, f"{demands.words} {odd}")


def _judge_list(engine: Engine, container: Container, dialect: str) -> Iterator[Judgement]:
    """The first entry of a skip list that an engine takes for a regular expression, and that is none."""
    reading, block = engine.skip_list(dialect), container.config.get("quantization_config")
    if reading is None or not isinstance(block, Mapping):
        return
    for entry in reading.entries(block):
        why = reading.broken(entry)
        if why is not None:
            yield Judgement(None, Answer.REFUSED, f"its list's {entry!r} is no regular expression: {why}")
            return


def _holds(block: Mapping[str, Any], key: str) -> bool:
    """Whether a config has a key, in an object of it where the key has dots, and where there is such an object."""
    first, dot, rest = key.partition(".")
    inner = block.get(first)
    return first in block and (not dot or not isinstance(inner, Mapping) or _holds(inner, rest))


def _is_misnumbered(name: str, parts: Collection[str]) -> bool:
    """Whether a name holds one of these parts, and its end after the last underscore is no number."""
    return any(part in name for part in parts) and not names.last_part(name).rpartition("_")[2].isdigit()


def _beside_weight(name: str, tensors: Collection[str]) -> bool:
    """Whether a tensor is called a scale and lies beside a weight; models have scales of their own elsewhere."""
    return name.endswith(_PLAIN_SCALE) and f"{name.removesuffix(_PLAIN_SCALE)}.weight" in tensors


def judge_groups(engine: Engine, container: Container, dialect: str, parts: Collection[Part]) -> Iterator[Judgement]:
    """What becomes of several groups of a config where an engine takes one of them for every module."""
    one, block = fact_of(dialect, engine.one_group), container.config.get("quantization_config")
    if one is None or not isinstance(block, Mapping):
        return
    groups = targets_by_group(block)
    if len(groups) < 2:
        return
    if one.name not in groups:
        yield Judgement(None, Answer.REFUSED, one.without)
    elif len({part.scheme for part in parts if part.layer is not Layer.KV_CACHE}) > 1:
        yield Judgement(None, Answer.SILENT, one.others)


def judge_stored(engine: Engine, container: Container, *, understood: bool) -> Iterator[Judgement]:
    """What an engine that goes by storage makes of a container; nothing for any other."""
    if engine.by_storage is not None:
        yield from engine.by_storage()(container, engine.release_for("support"), understood)


def judge_unquantized(engine: Engine, container: Container, architecture: str | None) -> Iterator[Judgement]:
    """What is not as it should be where a config declares no quantization."""
    if engine.by_storage is not None:
        yield from judge_stored(engine, container, understood=False)
    else:
        yield from judge_class(engine, container, architecture, quantized=False)
        yield from judge_demands(engine, container, "")


def judge(engine: Engine, checkpoint: Checkpoint, dialect: str, architecture: str | None) -> tuple[Judgement, ...]:
    """An engine's answers for a checkpoint: one for each part, and one for a model class that it is not known to have,
    or for a tensor that it has no use for.

    What no row speaks of is unknown.
    """
    table, release = engine.support(), engine.release_for("support")
    rows = [row for row in table if row.versions is None or row.versions.holds(release)]
    container = checkpoint.container
    goes_by_storage = engine.by_storage is not None
    answers = [] if goes_by_storage else list(judge_class(engine, container, architecture, quantized=True))
    served = engine.served_as(architecture) or ""
    # What stops the class that may stand in stops whatever the engine has no class for.
    classes, stand_in = engine.architectures(), engine.stand_in
    rest = stand_in is not None and classes is not None and architecture is not None and served not in classes
    last = stand_in.name if stand_in is not None and rest else ""
    parts = tuple(parts_of(checkpoint))
    answers += judge_groups(engine, container, dialect, parts)
    for part in parts:
        row = next((row for row in rows if last and row.stops(part, dialect, last)), None)
        row = row or next((row for row in rows if row.fits(part, dialect, served)), None)
        said = Judgement(part, row.answer, row.words, since=row.since) if row else Judgement(part, Answer.UNKNOWN)
        # What is declared does not stop one that goes by storage.
        if not (goes_by_storage and said.answer is Answer.REFUSED):
            answers.append(said)
    if goes_by_storage:
        return (*answers, *judge_stored(engine, container, understood=True))
    others = {tensor.name for tensor in checkpoint.opaque_tensors()}
    listed = _judge_list(engine, container, dialect)
    give_back = engine.keeps_types().get(architecture or "")
    types = judge_types(checkpoint, give_back=give_back) if give_back is not None else ()
    return (*answers, *listed, *judge_demands(engine, container, dialect, others), *types)
