"""The skip-list question: for every linear module, what each engine decides and what is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ckptkit.engines import targets
from ckptkit.engines.skip_lists import Reading, readings_for
from ckptkit.model import names
from ckptkit.model.select import glob_or_exact
from ckptkit.rules.context import Context
from ckptkit.rules.skip_rules import undeclared_modules

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
    readings = readings_for(checkpoint.format, custom_mode=context.custom_mode)
    decisions = {engine: _decisions(context, engine, reading) for engine, reading in readings.items()}
    rows = []
    for name in sorted((*context.linear_names, *undeclared_modules(context)), key=names.natural):
        weight = checkpoint.unquantized.get(name)
        stored = context.container.tensors[names.join(name, "weight")].dtype
        answers = {engine: decided[name] for engine, decided in decisions.items()}
        fitting = QUANTIZED if weight is None else LEFT_ALONE
        wrong = tuple(engine for engine, answer in answers.items() if answer != fitting)
        rows.append(SkipRow(name, stored, answers, wrong))
    return SkipTable(context.container.label, checkpoint.format, tuple(readings), tuple(rows))


def _decisions(context: Context, engine: str, reading: Reading) -> dict[str, str]:
    """One engine's decision about every linear module."""
    skipped = reading.matcher(reading.entries(context.block))
    covered = declared_by(context, engine)
    modules = (*context.linear_names, *undeclared_modules(context))
    found = {name: LEFT_ALONE if skipped(name) or not covered(name) else QUANTIZED for name in modules}
    for group in context.fused_groups if reading.fuses else ():
        if len({found[name] for name in group.members}) > 1:
            found.update(dict.fromkeys(group.members, REFUSED))
    return found


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
