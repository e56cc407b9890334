"""A conversion plan: what happens to every tensor, why, what it costs, and every file as a job. All of it is data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from functools import cached_property
from typing import Any

from ckptkit.checks import schema
from ckptkit.errors import ConversionRefused, Fault, plural
from ckptkit.model import names
from ckptkit.operations.operation import Loss
from ckptkit.operations.outputs import labels, loss_of
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.output import Drop, OutputTensor, VirtualContainer, job_from_json
from ckptkit.storage.payload import ByteRange, Computed, Inline

_MAKE_IT = "make it with: ckptkit convert --dry-run --json"


class CostKind(str, Enum):
    """How expensive a plan is: only headers change, data is reordered or dropped, or values are computed."""

    HEADER_ONLY = "header-only"
    REPACK = "repack"
    RECOMPUTE = "recompute"


@record
class Cost:
    """Bytes of a plan: copied as they are, newly written (headers, JSON), computed; and the ranges copied."""

    kind: CostKind
    copied: int
    rewritten: int
    computed: int
    ranges: int
    files: int

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Cost:
        """The cost that :meth:`to_json` describes."""
        return cls(
            CostKind(document["kind"]),
            document["bytes_copied"],
            document["bytes_rewritten"],
            document["bytes_computed"],
            document["ranges"],
            document["files"],
        )

    @property
    def total(self) -> int:
        """Bytes of the whole output."""
        return self.copied + self.rewritten + self.computed

    def to_json(self) -> dict[str, Any]:
        """The cost as in the part ``cost`` of ``schemas/plan.json``."""
        return {
            "kind": self.kind.value,
            "bytes_copied": self.copied,
            "bytes_rewritten": self.rewritten,
            "bytes_computed": self.computed,
            "ranges": self.ranges,
            "files": self.files,
        }


@record
class Step:
    """The same operation on the same tensor of many layers; ``loss`` says how far its values may be off, in words."""

    operations: tuple[str, ...]
    source: str
    target: str | None
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    source_dtype: str
    target_dtype: str | None
    count: int
    reason: str
    loss: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Step:
        """The step that :meth:`to_json` describes."""
        source, target = document["source"], document["target"]
        return cls(
            tuple(document["operations"]),
            source["name"],
            target and target["name"],
            tuple(source["shape"]),
            target and tuple(target["shape"]),
            source["dtype"],
            target and target["dtype"],
            document["count"],
            document["reason"],
            document.get("loss", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The step as in the part ``steps`` of ``schemas/plan.json``."""
        return {
            "operations": list(self.operations),
            "source": {"name": self.source, "dtype": self.source_dtype, "shape": list(self.source_shape)},
            "target": None
            if self.target is None or self.target_shape is None
            else {"name": self.target, "dtype": self.target_dtype, "shape": list(self.target_shape)},
            "count": self.count,
            "reason": self.reason,
            **({"loss": self.loss} if self.loss else {}),
        }


@record
class Change:
    """What the result means differently, on purpose: of what, in which respect, before and after."""

    subject: str
    aspect: str
    before: str
    after: str

    def to_json(self) -> dict[str, str]:
        """A JSON object."""
        return {"subject": self.subject, "aspect": self.aspect, "before": self.before, "after": self.after}


class Verdict(str, Enum):
    """What a conversion does to the numbers. The third verdict, "refused", is an exception and no plan."""

    LOSSLESS = "lossless"
    LOSSY = "lossy as declared"


@record(repr=False)
class Plan(Shown):
    """Everything about a conversion before it happens; it can be printed, sent to another process, and carried out.

    ``changes`` are those that were declared, ``gives_up`` says which stored numbers go. ``source_files`` holds the size
    of every file that the plan reads and ``source_config`` a digest of the source's config.json: what has to be the
    same when it is carried out.
    """

    source: str
    source_format: str
    target_format: str
    output: VirtualContainer
    steps: tuple[Step, ...]
    kept: int
    notes: tuple[str, ...]
    cost: Cost
    source_files: Mapping[str, int]
    source_config: str
    changes: tuple[Change, ...] = ()
    gives_up: tuple[str, ...] = ()

    def _look(self) -> Look:
        formats = f"{self.source_format} to {self.target_format}"
        tensors = f"{plural(self.changed, 'tensor')} changed, {self.kept:,} kept"
        rows = (
            (step.operations, step.count, step.source, step.source_dtype, step.target, step.target_dtype, step.reason)
            for step in self.steps
        )
        return Look(
            self.source,
            [formats, tensors, self.verdict.value, self.cost.kind.value, plural(self.cost.files, "file")],
            ("operation", "count", "tensor", "dtype", "becomes", "dtype", "why"),
            rows,
            len(self.steps),
        )

    @property
    def changed(self) -> int:
        """The number of tensors that something happens to."""
        return sum(step.count for step in self.steps)

    @property
    def verdict(self) -> Verdict:
        """Whether every number stays."""
        return Verdict.LOSSY if self.gives_up or any(step.loss for step in self.steps) else Verdict.LOSSLESS

    @cached_property
    def losses(self) -> dict[str, Loss]:
        """Tensor of the result -> how far its values may be off; tensors that are exact are not listed."""
        tensors = (tensor for shard in self.output.shards for tensor in shard.tensors)
        return {tensor.name: loss for tensor in tensors if (loss := loss_of(tensor)) is not None}

    def to_json(self, *, jobs: bool = True) -> dict[str, Any]:
        """A JSON object as described by ``schemas/plan.json``; :meth:`from_json` makes the same plan of it.

        Without ``jobs`` it says what happens and not how, and is small.
        """
        work: dict[str, Any] = {}
        if jobs:
            work["source_files"] = dict(self.source_files)
            work["source_config"] = self.source_config
            work["jobs"] = [job.to_json() for job in self.output.jobs]
        return {
            "source": self.source,
            "source_format": self.source_format,
            "target_format": self.target_format,
            "verdict": self.verdict.value,
            "cost": self.cost.to_json(),
            "tensors_kept": self.kept,
            "steps": [step.to_json() for step in self.steps],
            "changes": [change.to_json() for change in self.changes],
            **({"gives_up": list(self.gives_up)} if self.gives_up else {}),
            "notes": list(self.notes),
            "shards": [shard.file for shard in self.output.shards],
            **work,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """The plan that :meth:`to_json` describes. Raises ConversionRefused when it is none."""
        faults = schema.faults("plan", document, file="plan")
        if faults:
            raise ConversionRefused("the plan cannot be read", faults=faults, help=_MAKE_IT)
        try:
            plan = cls(
                source=document["source"],
                source_format=document["source_format"],
                target_format=document["target_format"],
                output=VirtualContainer.of(job_from_json(job) for job in document["jobs"]),
                steps=tuple(Step.from_json(step) for step in document["steps"]),
                kept=document["tensors_kept"],
                notes=tuple(document["notes"]),
                cost=Cost.from_json(document["cost"]),
                source_files=dict(document["source_files"]),
                source_config=document["source_config"],
                changes=tuple(Change(**change) for change in document["changes"]),
                gives_up=tuple(document.get("gives_up", ())),
            )
            plan.output.require_sizes()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            fault = Fault("plan", "not a plan", found=f"{type(error).__name__}: {error}"[:120])
            raise ConversionRefused("the plan cannot be read", faults=[fault], help=_MAKE_IT) from error
        return plan


def summarise(tensors: Iterable[OutputTensor], drops: Iterable[Drop]) -> tuple[Step, ...]:
    """Group output tensors and drops that differ only in their layer numbers; what is kept as it is, is no step."""
    alike: dict[tuple[Any, ...], list[OutputTensor]] = {}
    for tensor in tensors:
        name, dtype, shape, operation, inputs, parameters, reason = tensor
        if operation != "keep":
            source = inputs[0] if inputs else tensor
            owner, _, last = source.name.rpartition(".")
            kind = new_kind = names.generalise(owner)  # a module has several tensors, and keeps its name
            new_last = last
            if name != source.name:
                new_owner, _, new_last = name.rpartition(".")
                new_kind = kind if new_owner == owner else names.generalise(new_owner)
            made = (shape, dtype, operation, reason, repr(parameters) if parameters else "")
            alike.setdefault((kind, last, new_kind, new_last, *source[1:3], *made), []).append(tensor)
    counted: dict[Step, int] = {}
    for members in alike.values():
        step = _step(members[0])
        counted[step] = counted.get(step, 0) + len(members)
    for drop in drops:
        source = drop.source
        name = names.generalise(source.name)
        step = Step(("drop",), name, None, source.shape, None, source.dtype, None, 1, drop.reason)
        counted[step] = counted.get(step, 0) + 1
    return tuple(replace(step, count=count) for step, count in counted.items())


def _step(tensor: OutputTensor) -> Step:
    """One tensor as a step; a tensor that the plan itself holds comes from itself."""
    source = tensor.inputs[0] if tensor.inputs else tensor
    loss = loss_of(tensor)
    return Step(
        labels(tensor),
        names.generalise(source.name),
        names.generalise(tensor.name),
        source.shape,
        tensor.shape,
        source.dtype,
        tensor.dtype,
        1,
        tensor.reason,
        "" if loss is None else str(loss),
    )


def price(output: VirtualContainer) -> Cost:
    """Read the cost off the payloads."""
    copied = rewritten = computed = ranges = 0
    in_order = True
    for shard in output.shards:
        in_order = in_order and len(shard.payloads) <= 2  # the header and one range
    for payload in (payload for job in output.jobs for payload in job.payloads):
        if isinstance(payload, ByteRange):
            copied += payload.nbytes
            ranges += 1
        elif isinstance(payload, Computed):
            computed += payload.nbytes
            ranges += len(payload.inputs)
        elif isinstance(payload, Inline):
            rewritten += payload.nbytes
    kind = CostKind.RECOMPUTE if computed else CostKind.HEADER_ONLY if in_order else CostKind.REPACK
    return Cost(kind, copied, rewritten, computed, ranges, len(output.jobs))
