"""How engines split attention into heads: by what config.json says, or by what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ckptkit.engines.dimensions import Dimensions
from ckptkit.record import record


@record
class Attention:
    """How an engine's classes find the heads of a decoder's attention.

    ``derive`` are classes that take ``hidden_size`` through the number of heads for the size of one, whatever
    ``head_dim`` says. One that goes ``by_shapes`` keeps weights as they are stored, and counts heads in them by the
    size of one; ``by_config`` are its classes that do not.
    """

    derive: frozenset[str] = frozenset()
    by_shapes: bool = False
    by_config: frozenset[str] = frozenset()

    def seen(self, dimensions: Dimensions) -> Dimensions:
        """The sizes of a model as the engine takes them."""
        size = dimensions.hidden_through_heads
        if dimensions.architecture not in self.derive or size is None or size == dimensions.head_size:
            return dimensions
        return replace(dimensions, head_dim=None, unsaid_head_dim=0)


class Stored(NamedTuple):
    """The rows of queries and of keys that are stored, and the length of the norm of one head, if there is one."""

    queries: int
    keys: int
    norm: int | None = None


def by_shapes(dimensions: Dimensions, stored: Stored) -> str:
    """What becomes of attention where heads are counted in what is stored, and how often keys are repeated is taken
    from the config: "found" if it is as it was, "other" if other heads are made of it, "lost" if it stops.

    >>> sizes = Dimensions(hidden=64, heads=32, kv_heads=2, head_dim=16, unsaid=frozenset({"num_attention_heads"}))
    >>> by_shapes(sizes, Stored(64, 32))
    'found'
    >>> by_shapes(replace(sizes, kv_heads=32), Stored(64, 32))
    'lost'
    """
    size = dimensions.head_size
    if size is None or size % 2 or stored.queries % size or stored.keys % size or stored.norm not in (None, size):
        return "lost"
    groups = (dimensions.heads or 1) // (dimensions.kv_heads or 1)
    queries, keys = stored.queries // size, stored.keys // size
    if queries != keys and (groups <= 1 or queries % keys):
        # One head of keys fits any number of queries, and kernels then read beyond it.
        return "other" if keys == 1 else "lost"
    return "found" if stored.norm is not None or dimensions.head_dim is not None else "other"


def by_latent_shapes(dimensions: Dimensions) -> str:
    """The same for latent attention, of which queries and keys have as many heads: these are repeated where values have
    another size."""
    groups = (dimensions.heads or 1) // (dimensions.kv_heads or 1)
    return "lost" if groups > 1 and sum(dimensions.key_dims or ()) != dimensions.value_dim else "found"


#: What nobody knows of: sizes by the config.
BY_CONFIG = Attention()


def seen_by(attentions: Mapping[str, Attention], dimensions: Dimensions) -> dict[Dimensions, frozenset[str]]:
    """The sizes of a model as engines take them, and which engines do."""
    found: dict[Dimensions, frozenset[str]] = {}
    for name, attention in attentions.items():
        seen = attention.seen(dimensions)
        found[seen] = found.get(seen, frozenset()) | {name}
    return found
