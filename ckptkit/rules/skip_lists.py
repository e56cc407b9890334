"""The skip-list question: for every linear module, what each engine decides and what is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ckptkit.engines import targets
from ckptkit.engines.skip_lists import Matcher, Reading, readings_for
from ckptkit.model import names
from ckptkit.model.select import glob_or_exact
from ckptkit.rules.context import Context
from ckptkit.rules.dtypes import is_small
from ckptkit.storage.payload import TensorRef

QUANTIZED, LEFT_ALONE, REFUSED = "quantized", "left alone", "refused"


@dataclass(frozen=True)
class SkipRow:
    """One linear module: its stored dtype, and engine -> "quantized", "left alone" or "refused".

    ``contradicts`` names the engines whose decision does not fit what is stored. An engine refuses a module when the
    parts of the fused layer that it belongs to are treated differently.
    """

    module: str
    stored: str
    decisions: Mapping[str, str]
    contradicts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "stored": self.stored,
            "decisions": dict(self.decisions),
            "contradicts": list(self.contradicts),
        }


@dataclass(frozen=True)
class SkipTable:
    """All linear modules in natural order, and the engines that read the checkpoint's format."""

    label: str
    format: str | None
    engines: tuple[str, ...]
    rows: tuple[SkipRow, ...]

    @property
    def contradictions(self) -> tuple[SkipRow, ...]:
        return tuple(row for row in self.rows if row.contradicts)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.label,
            "format": self.format,
            "engines": list(self.engines),
            "modules": [row.to_json() for row in self.rows],
        }


def skip_views(context: Context) -> SkipTable:
    """Ask every engine's matcher about every linear module. Empty when the config could not be read."""
    checkpoint = context.checkpoint
    if checkpoint is None:
        return SkipTable(context.container.label, None, (), ())
    readings = readings_of(context)
    decisions = {engine: _decisions(context, engine, reading) for engine, reading in readings.items()}
    rows = []
    for name, weight in sorted(_weights(context).items(), key=lambda item: names.natural(item[0])):
        answers = {engine: decided[name] for engine, decided in decisions.items()}
        fitting = LEFT_ALONE if name in checkpoint.unquantized else QUANTIZED
        wrong = tuple(engine for engine, answer in answers.items() if answer != fitting)
        rows.append(SkipRow(name, weight.dtype, answers, wrong))
    return SkipTable(context.container.label, checkpoint.format, tuple(readings), tuple(rows))


def _weights(context: Context) -> dict[str, TensorRef]:
    """Every linear module with its stored weight; a weight called ".weight" belongs to the module without a name."""
    checkpoint = context.checkpoint
    if checkpoint is None:
        return {}
    quantized = {name: module.weight for name, module in checkpoint.modules.items()}
    return {**quantized, **checkpoint.unquantized, **{t.module: t for t in undeclared_weights(context)}}


def _decisions(context: Context, engine: str, reading: Reading) -> dict[str, str]:
    """One engine's decision about every linear module."""
    builds = builds_quantized(context, engine, reading)
    found = {name: QUANTIZED if builds(name) else LEFT_ALONE for name in _weights(context)}
    for group in context.fused_groups if reading.fuses else ():
        if len({found[name] for name in group.members}) > 1:
            found.update(dict.fromkeys(group.members, REFUSED))
    return found


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
    checkpoint = context.checkpoint
    return {} if checkpoint is None else readings_for(checkpoint.format, custom_mode=context.custom_mode)


def matchers_of(context: Context) -> dict[str, Matcher]:
    """Engine -> whether it finds a module on the skip list."""
    return {engine: _skipped_by(context, engine, reading) for engine, reading in readings_of(context).items()}


def declared_by(context: Context, engine: str) -> Callable[[str], bool]:
    """Whether the config means a module to be quantized, the skip list aside."""
    block = context.block
    if context.method == "compressed-tensors":
        groups = targets.targets_by_group(block)
        group_of = targets.library_group(groups) if engine == "transformers" else targets.vllm_group(groups)
        return lambda name: group_of(name) is not None
    if context.custom_mode:
        return lambda name: True
    default = _quantizes(block.get("global_quant_config"))
    layers = block.get("layer_quant_config")
    patterns = [
        (glob_or_exact(text), _quantizes(spec)) for text, spec in (layers.items() if isinstance(layers, dict) else ())
    ]
    exact = {pattern.text: quantizes for pattern, quantizes in patterns}
    globs = [(pattern, quantizes) for pattern, quantizes in patterns if "*" in pattern.text or "[" in pattern.text]

    def covers(name: str) -> bool:
        if name in exact:
            return exact[name]
        return next((quantizes for pattern, quantizes in globs if pattern.matches(name)), default)

    return covers


def _quantizes(spec: Any) -> bool:
    return isinstance(spec, dict) and spec.get("weight") is not None


def grouped(table: SkipTable) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], list[SkipRow]]:
    """Rows that differ in their layer and expert numbers only, for people: (kind, stored, decisions) -> rows."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[SkipRow]] = {}
    for row in table.rows:
        key = (names.generalise(row.module), row.stored, tuple(row.decisions.items()))
        found.setdefault(key, []).append(row)
    return found
