"""What a comparison of two checkpoints found: differences, and how far values are off."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from ckptkit.checks.registry import Level
from ckptkit.errors import plural
from ckptkit.measure.errors import Measured
from ckptkit.model import names
from ckptkit.record import record
from ckptkit.shown import Look, Shown


@record
class Difference:
    """One thing in which two checkpoints differ: where, what, and what each side has."""

    subject: str
    aspect: str
    left: str
    right: str

    def to_json(self) -> dict[str, str]:
        """A JSON object with the fields as keys."""
        return asdict(self)


@record
class WeightErrors:
    """How far a weight is off, beside the one of the base.

    ``name`` is the module's, or the tensor's where that is no module's weight; ``base`` and ``other`` say what the
    values are stored in. In ``shape``, and in the place of the worst element, the experts of a stack come first.
    Unless ``base_is_exact``, it is quantized too, and what it was made of decides what was clipped.
    """

    name: str
    shape: tuple[int, ...]
    base: str
    other: str
    measured: Measured
    base_is_exact: bool = True

    @property
    def clipped_share(self) -> float | None:
        """Codes that are clipped, of all; None where nobody can tell."""
        return self.measured.clipped_share if self.base_is_exact else None

    @property
    def kind(self) -> str:
        """The name that this weight has in every layer."""
        return names.generalise(self.name)

    @property
    def place(self) -> tuple[int, ...]:
        """Where the worst element is, an index for each axis; nowhere, when there is none."""
        worst = self.measured.worst
        if worst is None:
            return ()
        found, row = [worst.column], worst.row
        for extent in reversed(self.shape[1:-1]):
            row, index = divmod(row, extent)
            found.insert(0, index)
        return tuple([row, *found][-max(1, len(self.shape)) :])

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/comparison.json``."""
        document = self.measured.to_json()
        if document["worst"] is not None:
            worst = {key: value for key, value in document["worst"].items() if key not in ("row", "column")}
            document["worst"] = {"place": list(self.place), **worst}
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "base": self.base,
            "other": self.other,
            **document,
            "clipped_share": self.clipped_share,
        }


class KindErrors(NamedTuple):
    """All weights of one kind together, and the name of the one that is furthest off."""

    kind: str
    weights: int
    measured: Measured
    worst_weight: str
    clipped_share: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/comparison.json``."""
        document = self.measured.to_json()
        document.pop("worst")
        document["clipped_share"] = self.clipped_share
        return {"kind": self.kind, "weights": self.weights, "worst_weight": self.worst_weight, **document}


class NotMeasured(NamedTuple):
    """A weight on both sides whose values may differ and were not measured, and why."""

    name: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """A JSON object with the fields as keys."""
        return self._asdict()


@record(repr=False)
class Errors(Shown):
    """How far the values of two checkpoints are apart, weight by weight.

    ``base`` says which of them is the reference: the one that is not quantized, else the left one. ``weights`` are
    those with values that differ, the worst first; of ``equal`` more every value is the same.
    """

    base: str
    weights: tuple[WeightErrors, ...]
    equal: int
    not_measured: tuple[NotMeasured, ...] = ()

    def _look(self) -> Look:
        facts = [f"{plural(len(self.weights), 'weight')} off", f"{self.equal:,} equal"]
        if self.weights:
            facts.append(f"relative error {self.total.relative_error:.3g}")
        if self.not_measured:
            facts.append(f"{len(self.not_measured):,} not measured")
        rows = (
            (weight.name, f"{found.relative_error:.3g}", f"{found.snr_db:.1f}", weight.base, weight.other)
            for weight in self.weights
            for found in (weight.measured,)
        )
        return Look(
            f"base: {self.base}", facts, ("weight", "error", "SNR dB", "base", "other"), rows, len(self.weights)
        )

    @property
    def total(self) -> Measured:
        """All weights that differ together; the place of the worst element says nothing here."""
        return _total(self.weights)

    @property
    def kinds(self) -> tuple[KindErrors, ...]:
        """The weights that differ by kind, the worst kind first."""
        grouped: dict[str, list[WeightErrors]] = {}
        for weight in self.weights:
            grouped.setdefault(weight.kind, []).append(weight)
        found = [KindErrors(kind, len(own), _total(own), own[0].name, _clipped(own)) for kind, own in grouped.items()]
        return tuple(sorted(found, key=lambda item: (*_badness(item.measured), names.natural(item.kind))))

    def to_json(self) -> dict[str, Any]:
        """The errors as described by ``schemas/comparison.json``."""
        total = self.total.to_json()
        total.pop("worst")
        total["clipped_share"] = _clipped(self.weights)
        return {
            "base": self.base,
            "equal": self.equal,
            "total": total,
            "kinds": [kind.to_json() for kind in self.kinds],
            "weights": [weight.to_json() for weight in self.weights],
            "not_measured": [item.to_json() for item in self.not_measured],
        }


def _total(weights: Iterable[WeightErrors]) -> Measured:
    return sum((weight.measured for weight in weights), Measured())


def _clipped(weights: Iterable[WeightErrors]) -> float | None:
    """The share of clipped codes over all weights of which it is known."""
    return _total(weight for weight in weights if weight.base_is_exact).clipped_share


def worst_first(weights: Iterable[WeightErrors]) -> tuple[WeightErrors, ...]:
    """Weights with elements that are no numbers, then by relative error, the largest first."""
    return tuple(sorted(weights, key=lambda weight: (*_badness(weight.measured), names.natural(weight.name))))


def _badness(measured: Measured) -> tuple[bool, float]:
    return not measured.not_finite, -measured.relative_error if measured.elements else math.inf


@record(repr=False)
class Comparison(Shown):
    """The outcome of a comparison.

    At level FULL, ``same`` means that every dequantized value is equal bit for bit; below it, that nothing differs
    in what was read. ``notes`` are differences that change no number: of the tokenizer, or in how text is generated.
    ``declared`` are those that the plan of a conversion had announced, values within what its operations promise
    included: they do not count. ``errors`` say at level FULL how far values are off, where some differ.
    """

    left: str
    right: str
    differences: tuple[Difference, ...]
    modules: int
    tensors: int
    bytes_compared: int
    level: Level = Level.FULL
    notes: tuple[str, ...] = ()
    declared: tuple[Difference, ...] = ()
    errors: Errors | None = None

    def _look(self) -> Look:
        counts = [plural(self.modules, "quantized module"), f"{plural(self.tensors, 'other tensor')} compared"]
        facts = [
            "the same model" if self.same else plural(len(self.differences), "difference"),
            *([plural(len(self.declared), "declared change")] if self.declared else []),
            *counts,
            f"level {self.level.name.lower()}",
        ]
        rows = ((item.subject, item.aspect, item.left, item.right) for item in self.differences)
        columns = ("of", "differs", "left", "right")
        return Look(f"{self.left} and {self.right}", facts, columns, rows, len(self.differences))

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """The comparison as described by ``schemas/comparison.json``."""
        return {
            "left": self.left,
            "right": self.right,
            "same": self.same,
            "modules": self.modules,
            "plain_tensors": self.tensors,
            "bytes_compared": self.bytes_compared,
            "level": self.level.name.lower(),
            "differences": [difference.to_json() for difference in self.differences],
            "declared": [difference.to_json() for difference in self.declared],
            "errors": None if self.errors is None else self.errors.to_json(),
            "notes": list(self.notes),
        }
