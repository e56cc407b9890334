"""A checkpoint some of whose tensors are still to be made, as formats write it: they need not know of it.

A tensor that an operation will make has a stand-in, a TensorRef like those of stored tensors. The writer names,
reshapes and places stand-ins as it does stored tensors; afterwards the operations take their places in its draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats.base import Changes, Draft
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.output import AS_STORED, Drop, OutputTensor
from ckptkit.storage.payload import TensorRef


def stand_in(tensor: OutputTensor) -> TensorRef:
    """What stands for a tensor that is to be made, where its first input is stored."""
    shard, start = (tensor.inputs[0].shard, tensor.inputs[0].start) if tensor.inputs else ("", 0)
    return TensorRef(tensor.name, tensor.dtype, tensor.shape, shard, start, tensor.nbytes)


@dataclass(frozen=True)
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
        """The same with one more thing done to it, which is refused where it is made of what is still to be made."""
        pairs = ((tensor, self.made[ref]) for tensor in made.values() for ref in tensor.inputs if ref in self.made)
        first = next(pairs, None)
        two = () if first is None else (_two_operations(*first),)
        return Prepared(
            checkpoint,
            {**self.made, **made},
            (*self.drops, *drops),
            self.changes if changes is None else self.changes.joined(changes),
            (*self.refusals, *refusals, *two),
            {**self.config, **(config or {})},
        )

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
                fault = _two_operations(tensor, self.made[next(ref for ref in tensor.inputs if ref in self.made)])
                raise ConversionRefused(f"{tensor.name} cannot be made in one go", faults=[fault], help=fault.help)


def _two_operations(tensor: OutputTensor, first: OutputTensor) -> Fault:
    """Why a tensor cannot be made of what another operation is still to make: operations read what is stored."""
    message = f"{tensor.operation} of what {first.operation} makes: no plan holds both at once"
    help_text = "convert in two steps: the first into a folder of its own"
    return Fault("two-operations", message, None, tensor.name, help=help_text)
