"""A fourth set of held-out checkpoints: every kind of change so far, made to a checkpoint of another format or
architecture.

Nobody chose them: ``draw.py`` drew them once by a fixed seed into ``crossed.json``, a line for each: its id, the
change, what it is made to, and what it means where that is not this. What counts as a crossing is said there, and in
``meaning.py`` what was dropped when the drawing was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.accuracy.crossed.sources import sources
from tests.accuracy.held import Held

__all__ = ["CROSSED"]

DRAWN = Path(__file__).with_name("crossed.json")


def _crossed() -> Iterator[Held]:
    changes = sources()
    for name, source, base, meant in json.loads(DRAWN.read_text(encoding="utf-8")):
        yield Held(name, base, changes[source].change, meant)


CROSSED: tuple[Held, ...] = tuple(_crossed())
