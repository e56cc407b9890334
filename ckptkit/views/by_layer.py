"""What differs from layer to layer: a range for each kind of module and layer, as charts draw it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ckptkit.model import names
from ckptkit.record import record

#: Kinds of modules that a chart holds; a model has a few dozen. Those with the most values come first.
MOST_PANELS = 64
#: Modules without a layer that a chart lists.
MOST_ALONE = 64

_LAYER = re.compile(r"(?<![^.])\d+(?![^.])", re.ASCII)
#: A layer number of more digits is none that a chart has room for.
_LONGEST = 6


class Measurement(NamedTuple):
    """The smallest and the largest value of one module; both finite."""

    name: str
    low: float
    high: float


@record
class Panel:
    """One kind of module over its layers: the range of all modules of the kind in a layer, and how many these are.

    ``kind`` has ``*`` for each number. All tuples are as long as ``layers``, whose numbers grow.
    """

    kind: str
    layers: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def highest(self) -> int:
        """The layer with the largest value; the first of several."""
        return self.layers[self.high.index(max(self.high))]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``charts`` of ``schemas/page.json``."""
        return {
            "kind": self.kind,
            "layers": list(self.layers),
            "low": [*map(_short, self.low)],
            "high": [*map(_short, self.high)],
            "counts": list(self.counts),
        }


@record
class Chart:
    """One measure over all layers. ``alone`` are modules outside of layers (lm_head).

    ``omitted`` counts the kinds and the modules without a layer that are beyond what a chart holds.
    """

    measure: str
    panels: tuple[Panel, ...]
    alone: tuple[Measurement, ...]
    omitted: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as in the part ``charts`` of ``schemas/page.json``."""
        return {
            "measure": self.measure,
            "panels": [panel.to_json() for panel in self.panels],
            "alone": [{"name": m.name, "low": _short(m.low), "high": _short(m.high)} for m in self.alone],
            "omitted": self.omitted,
        }


def by_layer(measure: str, measured: Iterable[Measurement]) -> Chart:
    """Put what was measured of modules under their kinds and layers. What is no finite number is left out.

    >>> chart = by_layer("weight scale", [Measurement(f"layers.{n}.mlp.up_proj", 1.0, 2.0 + n) for n in (1, 0)])
    >>> chart.panels
    (Panel(kind='layers.*.mlp.up_proj', layers=(0, 1), low=(1.0, 1.0), high=(2.0, 3.0), counts=(1, 1)),)
    """
    found: dict[str, dict[int, tuple[float, float, int]]] = {}
    alone: list[Measurement] = []
    for item in measured:
        if not (math.isfinite(item.low) and math.isfinite(item.high)):
            continue
        layer = _LAYER.search(item.name)
        if layer is None or len(layer[0]) > _LONGEST:
            alone.append(item)
            continue
        layers = found.setdefault(names.generalise(item.name), {})
        number = int(layer[0])
        low, high, count = layers.get(number, (item.low, item.high, 0))
        layers[number] = (min(low, item.low), max(high, item.high), count + 1)
    kinds = sorted(found, key=lambda kind: -sum(count for _, _, count in found[kind].values()))[:MOST_PANELS]
    panels = []
    for kind in sorted(kinds, key=names.natural):
        rows = sorted(found[kind].items())
        values = [value for _, value in rows]
        panels.append(
            Panel(
                kind,
                layers=tuple(number for number, _ in rows),
                low=tuple(low for low, _, _ in values),
                high=tuple(high for _, high, _ in values),
                counts=tuple(count for _, _, count in values),
            )
        )
    alone.sort(key=lambda item: names.natural(item.name))
    omitted = len(found) - len(kinds) + max(0, len(alone) - MOST_ALONE)
    return Chart(measure, tuple(panels), tuple(alone[:MOST_ALONE]), omitted)


def _short(value: float) -> float:
    """Six digits: nobody sees more in a chart."""
    return float(f"{value:.6g}")
