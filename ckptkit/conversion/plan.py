"""A conversion plan: what happens to every tensor, why, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ckptkit.formats.base import Operation, TensorDrop, TensorEdit
from ckptkit.model import names
from ckptkit.storage.payload import ByteRange, Computed, Inline, VirtualContainer
from ckptkit.storage.writer import coalesce, shard_header


class CostKind(str, Enum):
    """How expensive a plan is: only headers change, data is reordered or dropped, or values are computed."""

    HEADER_ONLY = "header-only"
    REPACK = "repack"
    RECOMPUTE = "recompute"


@dataclass(frozen=True)
class Cost:
    """Bytes of a plan: copied as they are, newly written (headers, JSON), computed; and the ranges copied."""

    kind: CostKind
    copied: int
    rewritten: int
    computed: int
    ranges: int
    files: int

    @property
    def total(self) -> int:
        """Bytes of the whole output."""
        return self.copied + self.rewritten + self.computed

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "bytes_copied": self.copied,
            "bytes_rewritten": self.rewritten,
            "bytes_computed": self.computed,
            "ranges": self.ranges,
            "files": self.files,
        }


@dataclass(frozen=True)
class Step:
    """The same operation on the same tensor of many layers."""

    operations: tuple[Operation, ...]
    source: str
    target: str | None
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    source_dtype: str
    target_dtype: str | None
    count: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {
            "operations": [operation.value for operation in self.operations],
            "source": {"name": self.source, "dtype": self.source_dtype, "shape": list(self.source_shape)},
            "target": None
            if self.target is None or self.target_shape is None
            else {"name": self.target, "dtype": self.target_dtype, "shape": list(self.target_shape)},
            "count": self.count,
            "reason": self.reason,
        }


@dataclass(frozen=True, repr=False)
class Plan:
    """Everything about a conversion before it happens. Plans exist only for conversions that lose nothing."""

    source: str
    source_format: str
    target_format: str
    output: VirtualContainer
    steps: tuple[Step, ...]
    kept: int
    notes: tuple[str, ...]
    cost: Cost

    def __repr__(self) -> str:
        what = f"{self.source_format} to {self.target_format}, {self.changed} tensors changed, {self.kept} kept"
        return f"<Plan {self.source!r}: {what}>"

    @property
    def changed(self) -> int:
        """The number of tensors that something happens to."""
        return sum(step.count for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """A JSON object as described by ``schemas/plan.json``."""
        return {
            "source": self.source,
            "source_format": self.source_format,
            "target_format": self.target_format,
            "verdict": "lossless",
            "cost": self.cost.to_json(),
            "tensors_kept": self.kept,
            "steps": [step.to_json() for step in self.steps],
            "notes": list(self.notes),
            "shards": [shard.file for shard in self.output.shards],
        }


def summarise(edits: Iterable[TensorEdit], drops: Iterable[TensorDrop]) -> tuple[Step, ...]:
    """Group edits and drops that differ only in their layer numbers."""
    counted: dict[Step, int] = {}
    for edit in edits:
        if edit.operations != (Operation.KEEP,):
            tensor = edit.source
            step = Step(
                edit.operations,
                names.generalise(tensor.name),
                names.generalise(edit.name),
                tensor.shape,
                edit.shape,
                tensor.dtype,
                edit.dtype,
                1,
                edit.reason,
            )
            counted[step] = counted.get(step, 0) + 1
    for drop in drops:
        tensor = drop.source
        name = names.generalise(tensor.name)
        step = Step((Operation.DROP,), name, None, tensor.shape, None, tensor.dtype, None, 1, drop.reason)
        counted[step] = counted.get(step, 0) + 1
    return tuple(replace(step, count=count) for step, count in counted.items())


def price(output: VirtualContainer) -> Cost:
    """Read the cost off the payloads."""
    copied = rewritten = computed = ranges = 0
    in_order = True
    for shard in output.shards:
        rewritten += len(shard_header(shard))
        payloads = list(coalesce(tensor.payload for tensor in shard.tensors))
        ranges += len(payloads)
        in_order = in_order and len(payloads) <= 1
        for payload in payloads:
            if isinstance(payload, ByteRange):
                copied += payload.nbytes
            elif isinstance(payload, Computed):
                computed += payload.nbytes
            else:
                rewritten += payload.nbytes
    for item in output.files:
        if isinstance(item.payload, Inline):
            rewritten += item.payload.nbytes
        else:
            copied += item.payload.nbytes
            ranges += 1
    kind = CostKind.RECOMPUTE if computed else CostKind.HEADER_ONLY if in_order else CostKind.REPACK
    return Cost(kind, copied, rewritten, computed, ranges, len(output.shards) + len(output.files))
