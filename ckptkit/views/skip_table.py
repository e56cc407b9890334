"""The skip-list question: for every linear module, what each engine decides and what is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.skip_lists import builds_quantized, readings_of, undeclared_weights
from ckptkit.engines.skip_lists import Reading
from ckptkit.errors import plural
from ckptkit.model import names
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.payload import TensorRef

QUANTIZED, LEFT_ALONE, REFUSED = "quantized", "left alone", "refused"


@record
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
        """A JSON object."""
        return {
            "module": self.module,
            "stored": self.stored,
            "decisions": dict(self.decisions),
            "contradicts": list(self.contradicts),
        }


@record(repr=False)
class SkipTable(Shown):
    """All linear modules in natural order, and the engines that read the checkpoint's format."""

    label: str
    format: str | None
    engines: tuple[str, ...]
    rows: tuple[SkipRow, ...]

    def of(self, engines: Collection[str] | None) -> SkipTable:
        """The decisions of these engines; of all for None."""
        if engines is None:
            return self
        rows = tuple(
            replace(
                row,
                decisions={engine: decision for engine, decision in row.decisions.items() if engine in engines},
                contradicts=tuple(engine for engine in row.contradicts if engine in engines),
            )
            for row in self.rows
        )
        return replace(self, engines=tuple(engine for engine in self.engines if engine in engines), rows=rows)

    def _look(self) -> Look:
        facts = [plural(len(self.rows), "linear module"), f"{len(self.contradictions):,} contradicted by an engine"]
        rows = ((row.module, row.stored, *map(row.decisions.get, self.engines)) for row in self.rows)
        return Look(self.label, facts, ("module", "stored", *self.engines), rows, len(self.rows))

    @property
    def contradictions(self) -> tuple[SkipRow, ...]:
        """The rows in which an engine contradicts what is stored."""
        return tuple(row for row in self.rows if row.contradicts)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
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
    decisions = {engine: _decisions(context, reading) for engine, reading in readings.items()}
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
    others = {name: module.weight for name, module in checkpoint.opaque.items() if module.weight is not None}
    return {**quantized, **others, **checkpoint.unquantized, **{t.module: t for t in undeclared_weights(context)}}


def _decisions(context: Context, reading: Reading) -> dict[str, str]:
    """One engine's decision about every linear module."""
    builds = builds_quantized(context, reading)
    found = {name: QUANTIZED if builds(name) else LEFT_ALONE for name in _weights(context)}
    for group in context.fused_groups if reading.fuses else ():
        members = [name for name in group.members if name in found]  # of some no weight is stored
        if len({found[name] for name in members}) > 1:
            found.update(dict.fromkeys(members, REFUSED))
    return found


def grouped(table: SkipTable) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], list[SkipRow]]:
    """Rows that differ in their layer and expert numbers only, for people: (kind, stored, decisions) -> rows."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[SkipRow]] = {}
    for row in table.rows:
        key = (names.generalise(row.module), row.stored, tuple(row.decisions.items()))
        found.setdefault(key, []).append(row)
    return found
