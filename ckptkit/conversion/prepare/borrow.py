"""Scales of another checkpoint of the same model, as values that a plan itself holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scheme import KVCacheScheme
from ckptkit.operations.outputs import constant
from ckptkit.storage.container import Container
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef

#: The roles of an attention module's scales that belong to the KV cache.
KV_ROLES = ("k", "v")


@dataclass(frozen=True)
class BorrowedAttention:
    """Attention scales of another checkpoint: attention module -> role ("k", "v", "q", "prob") -> a constant.

    ``scheme`` is how that checkpoint declares its KV cache, None where it does not.
    """

    scheme: KVCacheScheme | None
    scales: Mapping[str, Mapping[str, OutputTensor]]


def attention_scales(other: Checkpoint) -> BorrowedAttention:
    """Every stored attention scale of ``other``; neighbours are read together.

    Where one tensor stands for keys and values, both roles have the same constant.
    """
    cache = other.kv_cache
    if cache is None:
        return BorrowedAttention(None, {})
    stored = {attention.module: attention.stored() for attention in cache.attention}
    made = constants(other.container, {tensor for scales in stored.values() for tensor in scales.values()})
    found = {
        module: {role: made[tensor] for role, tensor in scales.items()} for module, scales in stored.items() if scales
    }
    return BorrowedAttention(cache.scheme, found)


def constants(container: Container, tensors: set[TensorRef]) -> dict[TensorRef, OutputTensor]:
    """Stored tensors, small ones, as constants under their names."""
    return {
        tensor: constant(tensor.name, tensor.dtype, tensor.shape, data) for tensor, data in container.read_many(tensors)
    }
