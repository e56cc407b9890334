"""What a rule sees: a container, the checkpoint read from it where that worked, and scale values on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ckptkit.errors import Fault
from ckptkit.formats.base import Format
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.values import ScaleValues, scale_values
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef


@dataclass(frozen=True)
class Context:
    """One checkpoint under examination. ``checkpoint`` and ``format`` are None when the config was unreadable."""

    container: Container
    checkpoint: Checkpoint | None
    format: Format | None
    reading_faults: tuple[Fault, ...] = ()

    def faults(self, *kinds: str) -> Iterator[Fault]:
        """The faults of these kinds that reading met, in files or in the config."""
        wanted = frozenset(kinds)
        own = self.checkpoint.faults if self.checkpoint is not None else ()
        for fault in (*self.container.faults, *own, *self.reading_faults):
            if fault.kind in wanted:
                yield fault

    @cached_property
    def scale_values(self) -> dict[str, tuple[TensorRef, ScaleValues]]:
        """Every scale's values by tensor name, read once, neighbours in one read."""
        if self.checkpoint is None:
            return {}
        found = {}
        for tensor, data in self.container.read_many(self.checkpoint.scale_tensors()):
            values = scale_values(tensor.dtype, data)
            if values is not None:
                found[tensor.name] = (tensor, values)
        return found
