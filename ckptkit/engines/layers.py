"""The kinds of layers that engines treat apart, told by the names of modules."""

from __future__ import annotations

import re
from enum import Enum

from ckptkit.model import names


class Layer(str, Enum):
    """The kinds of layers that engines treat apart."""

    LINEAR = "linear layers"
    FUSED = "fused linear layers"
    EXPERT = "experts"
    STACK = "stacks of experts"
    ROUTER = "routers"
    GATE = "gates of shared experts"
    EMBEDDING = "embeddings"
    HEAD = "the output head"
    KV_CACHE = "the KV cache"
    TOWER = "towers beside the language model"


_ROUTER = re.compile(r"(^|\.)(router(\.\w+)?|(mlp|block_sparse_moe|feed_forward|moe|mixer)\.gate)$")
_GATE = re.compile(r"(^|\.)shared_expert_gate$")
_FUSED_PARTS = frozenset(
    {*names.FUSED_GROUPS, *names.FUSED_QKV, *(part for parts in names.FUSED_GROUPS.values() for part in parts)}
)


def layer_of(module: str) -> Layer:
    """The kind of a quantized module, by its name.

    >>> [layer_of(f"model.layers.0.{name}").name for name in ("mlp.up_proj", "mlp.gate", "mlp.experts.3.up_proj")]
    ['FUSED', 'ROUTER', 'EXPERT']
    >>> layer_of("model.layers.0.mlp.shared_expert_gate").name
    'GATE'
    """
    module = names.layer_above(module)
    if names.experts_owner(module) is not None:
        return Layer.EXPERT
    if names.other_tower(module) is not None:
        return Layer.TOWER
    if names.is_embedding(module):
        return Layer.EMBEDDING
    if names.is_head(module):
        return Layer.HEAD
    if _ROUTER.search(module) is not None:
        return Layer.ROUTER
    if _GATE.search(module) is not None:
        return Layer.GATE
    return Layer.FUSED if names.last_part(module) in _FUSED_PARTS else Layer.LINEAR
