"""A checkpoint some of whose tensors are still to be made, as formats write it: they need not know of it.

A tensor that an operation will make has a stand-in, a TensorRef like those of stored tensors. The writer names,
reshapes and places stand-ins as it does stored tensors; afterwards the operations take their places in its draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats.base import Changes, Draft
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record
from ckptkit.storage.output import AS_STORED, CONSTANT, SLICE, Drop, OutputTensor
from ckptkit.storage.payload import ByteRange, TensorRef

#: What to do about two changes that no plan holds at once.
TWO_FOLDERS = "convert in two steps: the first into a folder of its own"


def stand_in(tensor: OutputTensor) -> TensorRef:
    """What stands for a tensor that is to be made, where its first input is stored."""
    shard, start = (tensor.inputs[0].shard, tensor.inputs[0].start) if tensor.inputs else ("", 0)
    return TensorRef(tensor.name, tensor.dtype, tensor.shape, shard, start, tensor.nbytes)


@record
class Prepared:
    """A checkpoint as the target's writer is to see it.

    ``made`` says how each stand-in in it is made. ``drops`` are stored tensors that nothing is made of. ``changes``
    holds what is lossy about it and why it is done: which schemes change is read off the checkpoint. ``refusals`` are
    losses that the user has not allowed. ``config`` are keys of config.json that get other values, its quantization
    config aside.
    """

    checkpoint: Checkpoint
    made: Mapping[TensorRef, OutputTensor] = field(default_factory=dict)
    drops: tuple[Drop, ...] = ()
    changes: Changes = field(default_factory=Changes)
    refusals: tuple[Fault, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def then(
        self,
        checkpoint: Checkpoint,
        made: Mapping[TensorRef, OutputTensor],
        drops: tuple[Drop, ...] = (),
        changes: Changes | None = None,
        refusals: tuple[Fault, ...] = (),
        config: Mapping[str, Any] | None = None,
    ) -> Prepared:
        """The same with one more thing done to it.

        Raises ConversionRefused where something is to be made of what is only made itself.
        """
        return Prepared(
            checkpoint,
            {**self.made, **{ref: self._of_stored(tensor) for ref, tensor in made.items()}},
            (*self.drops, *drops),
            self.changes if changes is None else self.changes.joined(changes),
            (*self.refusals, *refusals),
            {**self.config, **(config or {})},
        )

    def operation_of(self, ref: TensorRef) -> str | None:
        """What makes a tensor, where nothing can be made of it in the same plan; None of what is stored, or cut out."""
        made = self.made.get(ref)
        return None if made is None or made.operation == SLICE else made.operation

    def _of_stored(self, tensor: OutputTensor) -> OutputTensor:
        """The same tensor, made of what is stored: a run of a stored tensor's elements is stored itself.

        A constant is made of nothing; its input says beside what it is stored.
        """
        if not self.made or self.made.keys().isdisjoint(tensor.inputs):
            return tensor
        if tensor.operation == CONSTANT:
            beside = self.made[tensor.inputs[0]].inputs[:1]
            return tensor._replace(inputs=beside)
        inputs = []
        for ref in tensor.inputs:
            before = self.made.get(ref)
            if before is not None and self.operation_of(ref) is not None:
                raise _two_operations(tensor, before)
            inputs.append(ref if before is None else _run(ref, before))
        return tensor._replace(inputs=tuple(inputs))

    def settle(self, draft: Draft) -> Draft:
        """A writer's draft with what stand-ins stand for. Raises ConversionRefused where that takes two operations."""
        if not self.made and not self.drops:
            return replace(draft, changes=self.changes.joined(draft.changes))
        return replace(
            draft,
            tensors=tuple(self._settled(draft.tensors)),
            drops=(*self.drops, *(drop for drop in draft.drops if drop.source not in self.made)),
            changes=self.changes.joined(draft.changes),
            config={**self.config, **draft.config},
        )

    def _settled(self, tensors: tuple[OutputTensor, ...]) -> Iterator[OutputTensor]:
        for tensor in tensors:
            if self.made.keys().isdisjoint(tensor.inputs):
                yield tensor
            elif len(tensor.inputs) == 1 and tensor.operation in AS_STORED:
                made = self.made[tensor.inputs[0]]
                yield made._replace(name=tensor.name, shape=tensor.shape)
            else:
                raise _two_operations(tensor, self.made[next(ref for ref in tensor.inputs if ref in self.made)])


def _run(ref: TensorRef, cut: OutputTensor) -> TensorRef:
    """A run of a stored tensor's elements, under that tensor's name and in its own shape."""
    source, place = cut.inputs[0], cut.payload
    start = place.start if isinstance(place, ByteRange) else source.start
    return ref._replace(name=source.name, shard=source.shard, start=start)


def _two_operations(tensor: OutputTensor, first: OutputTensor) -> ConversionRefused:
    message = f"{tensor.operation} of what {first.operation} makes: no plan holds both at once"
    fault = Fault("two-operations", message, None, tensor.name)
    return ConversionRefused(f"{tensor.name} cannot be made in one go", faults=[fault], help=TWO_FOLDERS)
