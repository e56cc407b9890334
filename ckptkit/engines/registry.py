"""The engines that exist, ours and third parties', and what their tables say."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from types import MappingProxyType

from ckptkit.engines.base import ByModelType, Effect, Engine, Known, listed, rows_of
from ckptkit.engines.dialects import closeness, is_among
from ckptkit.engines.layers import Layer
from ckptkit.engines.model_types import class_of
from ckptkit.engines.releases import ALWAYS, Release
from ckptkit.engines.skip_lists import Reading
from ckptkit.errors import UsageError, did_you_mean
from ckptkit.plugins import ENGINES, plugins, refused

#: Folders of this package that hold an engine each, in the order in which tables show them.
BUILT_IN = ("vllm", "sglang", "trtllm", "transformers", "quark", "llamacpp")


@cache
def engines() -> Mapping[str, Engine]:
    """Every engine by name: the built-in ones first, then third parties'."""
    found = {}
    for name in BUILT_IN:
        engine: Engine = importlib.import_module(f"ckptkit.engines.{name}").ENGINE
        found[engine.name] = engine
    for plugin in plugins(ENGINES):
        engine = plugin.value
        if not isinstance(engine, Engine):
            raise refused(f"{plugin.origin} is not a ckptkit engine", plugin.package)
        if engine.name in found:
            raise refused(f"{plugin.origin} takes a name that is in use: {engine.name}", plugin.package)
        found[engine.name] = engine
    return MappingProxyType(found)


def asked_about(names: Collection[str] | None = None) -> dict[str, Engine]:
    """The engines of these names; for None those that are spoken of where nobody names any."""
    return {
        name: engine
        for name, engine in engines().items()
        if (not engine.on_request if names is None else name in names)
    }


def class_by_model_type(model_type: object) -> str | None:
    """The model class that engines take for a model type where none is named; None where none is called like it.

    >>> class_by_model_type("qwen3_moe")
    'Qwen3MoeForCausalLM'
    """
    guessing = (engine for engine in engines().values() if engine.by_model_type is not ByModelType.NEVER)
    found = (class_of(model_type, engine.architectures() or frozenset()) for engine in guessing)
    return next((name for name in found if name is not None), None)


def counters_by_shapes(architecture: str | None) -> frozenset[str]:
    """The engines that count a class's heads in what is stored."""
    ways = ((name, engine.attention) for name, engine in engines().items())
    return frozenset(name for name, way in ways if way.by_shapes and architecture not in way.by_config)


def by_name(name: str) -> Engine:
    """The engine of this name or label, written large or small. Raises UsageError with the names that exist."""
    known = {word.casefold(): engine for engine in engines().values() for word in (engine.label, engine.name)}
    wanted = name.strip().casefold()
    if wanted not in known:
        everything = f"engines: {', '.join(engines())}"
        raise UsageError(f"unknown engine {name!r}", help=did_you_mean(wanted, engines(), everything))
    return known[wanted]


def label_of(name: str) -> str:
    """What people call an engine; the name itself of one that is not known."""
    engine = engines().get(name)
    return engine.label if engine is not None else name


def readings_for(dialect: str, architecture: str | None = None) -> dict[str, Reading]:
    """Engine -> how it reads a dialect's skip list for a model class, for those that read the dialect and of which that
    is known."""
    found = {}
    for name, engine in engines().items():
        reading = engine.skip_list(dialect)
        if reading is not None and engine.stand_in is not None and engine.stands_in_for(architecture):
            reading = reading.of_parts(engine.stand_in.below)
        if reading is not None:
            found[name] = reading.of_class(architecture)
    return found


def drops_of(dialect: str, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Engine -> the ends of names of what it throws away of a dialect's tensors, for those that do, of these."""
    found = {name: engine.demands_of(dialect) for name, engine in asked_about(names).items()}
    return {name: demands.drops for name, demands in found.items() if demands is not None and demands.drops}


def effects_of(
    code: str,
    variant: str | None = None,
    *,
    dialect: str = "",
    architecture: str | None = None,
    only: Collection[str] | None = None,
    layer: Layer | None = None,
    of_readers: bool = False,
) -> tuple[Effect, ...]:
    """What a rule's defect, or one variant of it, does in each engine; ``only`` names those that can suffer.

    Without a dialect only what holds for every one is given. A variant of a variant has its name behind a slash, and
    is like that one where a table does not list it. With ``of_readers`` an engine of which nobody knows
    whether it reads the dialect has only what its table says of that dialect: the rest is known of others.

    >>> str(effects_of("CK302")[0].outcome.value)
    'error'
    """
    found: list[Effect] = []
    for name, engine in engines().items():
        if only is None or name in only:
            table, release = engine.outcomes(), engine.release_for("outcomes")
            rows = rows_of(table, f"{code}/{variant}" if variant else code)
            if of_readers and engine.reader_of(dialect) is None:
                rows = tuple(row for row in rows if is_among(dialect, row.formats))
            found += _effects(name, release, rows, dialect, engine.served_as(architecture) or "", layer)
    return tuple(found)


def unheard_of(
    code: str,
    variant: str | None = None,
    *,
    dialect: str = "",
    architecture: str | None = None,
    layer: Layer | None = None,
) -> frozenset[str]:
    """The engines whose tables say nothing of a rule's defect, or of one variant of it, in a dialect and a model class:
    no row fits, and none says that it does nothing.

    >>> [name in unheard_of("CK600", "no-such-word") for name in ("vllm", "llamacpp")]
    [True, False]
    """
    key = f"{code}/{variant}" if variant else code
    found = ((engine, listed(engine.outcomes(), key)) for engine in engines().values())
    return frozenset(
        engine.name
        for engine, rows in found
        if rows is None or (rows and not _fitting(rows, dialect, engine.served_as(architecture) or "", layer))
    )


def _fitting(rows: tuple[Known, ...], dialect: str, architecture: str, layer: Layer | None) -> list[Known]:
    """The rows that are about a dialect, an architecture and a kind of layer."""
    return [
        row
        for row in rows
        if (not row.formats or is_among(dialect, row.formats))
        and (not row.architectures or architecture.startswith(row.architectures))
        and (not row.layers or layer in row.layers)
    ]


def _effects(
    engine: str, release: Release, rows: tuple[Known, ...], dialect: str, architecture: str, layer: Layer | None
) -> Iterator[Effect]:
    """The rows that fit a dialect, an architecture and a kind of layer, of which those that ask for most of these."""
    fitting = _fitting(rows, dialect, architecture, layer)
    most = max((_special(row, dialect) for row in fitting), default=(False, 0))
    for row in fitting:
        if _special(row, dialect) < most:
            continue
        known = str(release) if row.versions is None else str(row.versions)
        usual = not row.option and (row.versions is None or row.versions.holds(release))
        gpus = row.gpus if usual else ()
        current = usual and not row.gpus
        of_some = row.versions not in (None, ALWAYS)
        yield Effect(
            engine,
            known,
            row.outcome,
            row.note,
            current,
            row.at_request,
            row.leaves_out,
            gpus,
            of_some,
            row.regardless,
        )


def _special(row: Known, dialect: str) -> tuple[bool, int]:
    """Whether a row asks for a class, and how many of format, class and kind of layer it asks for."""
    return bool(row.architectures), closeness(dialect, row.formats) + bool(row.architectures) + bool(row.layers)


@cache
def codes_by_layer(names: frozenset[str]) -> frozenset[str]:
    """The codes whose defects do something else in another kind of layer, in some engine of these names."""
    return frozenset(
        key.partition("/")[0]
        for engine in asked_about(names).values()
        for key, rows in engine.outcomes().items()
        if any(row.layers for row in rows)
    )


def judged_codes() -> frozenset[str]:
    """The codes that the outcomes of some engine speak of that nobody has to ask for, variants left aside."""
    return frozenset[str]().union(*(engine.codes for engine in asked_about().values()))
