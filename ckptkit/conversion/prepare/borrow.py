"""Scales of another checkpoint of the same model, as values that a plan itself holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scheme import KVCacheScheme
from ckptkit.operations.outputs import computed
from ckptkit.record import record
from ckptkit.storage.output import CONSTANT, OutputTensor
from ckptkit.storage.payload import TensorRef

#: The roles of an attention module's scales that belong to the KV cache.
KV_ROLES = ("k", "v")


class Twins:
    """Modules of the donor by the names of a checkpoint's.

    Either may be stored as it is called in memory, or under the names that transformers saves instead of Mixtral's.
    """

    def __init__(self, checkpoint: Checkpoint, donor: Checkpoint) -> None:
        self._own = names.in_memory(checkpoint.linear_names, checkpoint.config)
        known = names.in_memory(donor.linear_names, donor.config)
        self._theirs = {names.common(known.get(name, name)): name for name in donor.linear_names}

    def of(self, name: str) -> tuple[str, ...]:
        """The names under which the donor may have a module."""
        other = self._own.get(name, name)
        return (name, other, self._theirs.get(names.common(other), other))

    def of_attention(self, owner: str) -> tuple[str, ...]:
        """The same for an attention module, which is known by what makes its keys."""
        made = (name for last in sorted(names.MAKES_KEYS) for name in self.of(names.join(owner, last)))
        return tuple(map(names.parent, made))


@record
class BorrowedAttention:
    """Scales of a donor for attention modules of a checkpoint: module -> role ("k", "v", "q", "prob") -> a constant.

    ``scheme`` is how the donor declares its KV cache, None where it does not.
    """

    scheme: KVCacheScheme | None
    scales: Mapping[str, Mapping[str, OutputTensor]]


def attention_scales(checkpoint: Checkpoint, donor: Checkpoint) -> BorrowedAttention:
    """The donor's scales for every attention module that both have, each in the shard of what it belongs to."""
    cache, twins = donor.kv_cache, Twins(checkpoint, donor)
    if cache is None:
        return BorrowedAttention(None, {})
    theirs = {attention.module: attention.stored() for attention in cache.attention}
    matches = {
        owner: next((theirs[other] for other in twins.of_attention(owner) if theirs.get(other)), {})
        for owner in checkpoint.attention_modules
    }
    beside = {names.parent(name): module.weight for name, module in checkpoint.opaque.items()}
    beside |= {names.parent(name): module.weight for name, module in checkpoint.modules.items()}
    beside |= {names.parent(name): weight for name, weight in checkpoint.unquantized.items()}
    wanted = {
        (owner, role): (tensor, names.join(owner, f"{role}_scale"), beside[owner])
        for owner, stored in matches.items()
        for role, tensor in stored.items()
    }
    made = dict(zip(wanted, constants(donor, wanted.values()), strict=True))
    found = {owner: {role: made[owner, role] for role in stored} for owner, stored in matches.items() if stored}
    return BorrowedAttention(cache.scheme, found)


def constants(donor: Checkpoint, wanted: Iterable[tuple[TensorRef, str, TensorRef | None]]) -> tuple[OutputTensor, ...]:
    """Small tensors of the donor as constants: each with its new name and what it is to be stored beside.

    Neighbours are read together.
    """
    listed = tuple(wanted)
    read = dict(donor.container.read_many({tensor for tensor, _, _ in listed}))
    return tuple(
        computed(
            name,
            CONSTANT,
            () if beside is None else (beside,),
            {"dtype": tensor.dtype, "shape": list(tensor.shape), "hex": read[tensor].hex()},
            f"from {donor.container.label}",
        )
        for tensor, name, beside in listed
    )
