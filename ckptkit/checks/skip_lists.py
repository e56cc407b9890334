"""How each engine reads the checkpoint's skip list, and what its config means to be quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckptkit.checks.context import Context
from ckptkit.engines import targets
from ckptkit.engines.skip_lists import Matcher, Reading, readings_for
from ckptkit.model.census import is_small
from ckptkit.storage.payload import TensorRef


def builds_quantized(context: Context, engine: str, reading: Reading) -> Callable[[str], bool]:
    """Whether an engine builds a module quantized, as far as the config alone decides: fused parts apart."""
    skipped, covered = _skipped_by(context, engine, reading), declared_by(context, engine)
    return lambda name: covered(name) and not skipped(name)


def _skipped_by(context: Context, engine: str, reading: Reading) -> Matcher:
    """Whether an engine finds a module on the skip list, under the names that it looks for.

    transformers matches names in memory. vLLM and SGLang map the entries as they map the stored names, so that either
    will do.
    """
    matches, others = reading.matcher(reading.entries(context.block)), context.names_in_memory
    if not others:
        return matches
    if engine == "transformers":
        return lambda name: matches(others.get(name, name))
    return lambda name: matches(name) or (name in others and matches(others[name]))


def undeclared_weights(context: Context) -> tuple[TensorRef, ...]:
    """Weights of linear modules that are stored in FP8 although the config does not call them quantized."""
    stored = context.checkpoint.stored_only if context.checkpoint else ()
    return tuple(t for t in stored if len(t.shape) == 2 and t.name.endswith(".weight") and not is_small(t))


def readings_of(context: Context) -> Mapping[str, Reading]:
    """Engine -> how it reads the checkpoint's skip list."""
    dialect = context.dialect
    return {} if context.checkpoint is None or dialect is None else readings_for(dialect.key)


def matchers_of(context: Context) -> dict[str, Matcher]:
    """Engine -> whether it finds a module on the skip list."""
    return {engine: _skipped_by(context, engine, reading) for engine, reading in readings_of(context).items()}


def declared_by(context: Context, engine: str) -> Callable[[str], bool]:
    """Whether the config means a module to be quantized, the skip list aside.

    Engines take it from the format's own library, but for groups of targets, which they match in ways of their own.
    """
    if context.checkpoint is None or context.format is None:
        return lambda name: True
    if context.dialect is not None and context.dialect.targets_key is not None:
        groups = targets.targets_by_group(context.block)
        group_of = targets.library_group(groups) if engine == "transformers" else targets.vllm_group(groups)
        return lambda name: group_of(name) is not None
    return context.format.declares(context.checkpoint)
