"""What becomes of attention where the config's heads are not those that are stored."""

from __future__ import annotations

from ckptkit.checks.context import Context
from ckptkit.engines.attention import Stored, by_latent_shapes, by_shapes
from ckptkit.engines.decoder_shapes import NORMS_OF_HEADS
from ckptkit.engines.dimensions import Dimensions
from ckptkit.model import names

#: What says of the words for a size that it comes from a number of heads.
OF_HEADS = "_heads x "
#: Norms of queries and of keys, most of which are of one head.
ENDS_OF_NORMS = tuple(f".{norm}" for pair in NORMS_OF_HEADS for norm in pair)
_NORMS_OF_QUERIES = tuple(f".{queries}.weight" for queries, _ in NORMS_OF_HEADS)


def heads_by_shapes(context: Context, dimensions: Dimensions) -> str | None:
    """What whoever counts heads in what is stored makes of them, as :func:`by_shapes` says; None where the kind of
    misfit tells: keys that are all said contradict what is stored, or layers differ."""
    if dimensions.kv_lora_rank is not None:
        return by_latent_shapes(dimensions)
    queries = _only_size(context, "self_attn.o_proj", 1) or _only_size(context, "self_attn.q_proj", 0)
    keys = _only_size(context, "self_attn.k_proj", 0)
    if queries is None or keys is None:
        return None
    size, kv_heads = dimensions.head_dim or 0, dimensions.kv_heads or 1
    of_queries_alone = keys == kv_heads * size and (dimensions.heads or 0) // kv_heads > 1
    if not dimensions.unsaid and not of_queries_alone:
        return None
    return by_shapes(dimensions, Stored(queries, keys, _norm_of_heads(context, queries)))


def _only_size(context: Context, kind: str, axis: int) -> int | None:
    """The extent of a kind of weight along an axis; None where there is none, or more than one."""
    found = {shape[axis] for name, shape in context.decoder_weights if name == kind and len(shape) == 2}
    return found.pop() if len(found) == 1 else None


def _norm_of_heads(context: Context, queries: int) -> int | None:
    """The length of the norm of queries, where it is that of a head."""
    norms = (t for t in context.container.tensors.values() if t.name.endswith(_NORMS_OF_QUERIES) and len(t.shape) == 1)
    found = {norm.shape[0] for norm in norms if names.other_tower(norm.module) is None}
    length = found.pop() if len(found) == 1 else None
    return None if length == queries else length
