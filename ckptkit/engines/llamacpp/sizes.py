"""The sizes that a GGUF's metadata gives, against those of the tensors beside it.

llama.cpp builds a model from the metadata, which the converter takes from config.json, and refuses tensors of other
sizes. A size that config.json leaves out is that of transformers' default, with models of billions of parameters in
mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.engines.decoder_shapes import kind_of
from ckptkit.engines.unsaid_heads import UNSAID_HEADS
from ckptkit.record import record

Sizes = tuple[int | None, ...]


@record
class Told:
    """What a class writes of sizes: whether it writes ``head_dim``, the vocabulary, and one size for each expert."""

    head_dim: bool = True
    vocabulary: bool = False
    experts: str = "moe_intermediate_size"


def misfit(told: Told, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The first module whose weight has another size than the metadata gives; empty where all fit.

    >>> misfit(Told(), {"hidden_size": 64, "intermediate_size": 80}, {"model.layers.0.mlp.up_proj": (80, 32)})
    'model.layers.0.mlp.up_proj is [80, 32], and the metadata says [80, 64]'
    """
    wanted = _wanted(told, config)
    for module, shape in shapes.items():
        sizes = wanted.get(kind_of(module), ())
        if sizes and (len(sizes) != len(shape) or any(size not in (mine, None) for size, mine in _pairs(sizes, shape))):
            return f"{module} is {list(shape)}, and the metadata says {_shown(sizes)}"
        if any(size == 0 for size in sizes):
            return f"{module} is {list(shape)}, and config.json does not give its size"
    return ""


def _pairs(sizes: Sizes, shape: tuple[int, ...]) -> Iterator[tuple[int | None, int]]:
    """Sizes that are told beside those that are stored."""
    return ((size, mine) for size, mine in zip(sizes, shape, strict=True) if size != 0)


def _shown(sizes: Sizes) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"


def _wanted(told: Told, config: Mapping[str, Any]) -> dict[str, Sizes]:
    """Kind of module -> its sizes: 0 for one that is left out, None for one that says nothing."""

    def size(key: str, otherwise: int = 0) -> int | None:
        value = config.get(key, otherwise)
        return otherwise if value is None else value if type(value) is int else None

    hidden, heads, middle = size("hidden_size"), size("num_attention_heads"), size("intermediate_size")
    unsaid = UNSAID_HEADS.get(str(config.get("model_type")))
    unsaid_keys = unsaid.keys if unsaid is not None and "num_key_value_heads" not in config else None
    keys = size("num_key_value_heads", unsaid_keys or heads or 0)
    unsaid_size = unsaid.size if unsaid is not None and "head_dim" not in config else None
    own = size("head_dim", unsaid_size or 0) if told.head_dim else 0
    each = own or (hidden // heads if hidden and heads else None)
    queries, cached = _times(heads, each), _times(keys, each)
    inner = size(told.experts)
    into, out_of = (inner, hidden), (hidden, inner)
    return {
        "embed_tokens": (size("vocab_size") if told.vocabulary else None, hidden),
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (cached, hidden),
        "self_attn.v_proj": (cached, hidden),
        "self_attn.o_proj": (hidden, queries),
        **{"mlp.gate_proj": (middle, hidden), "mlp.up_proj": (middle, hidden), "mlp.down_proj": (hidden, middle)},
        "mlp.gate_up_proj": (_times(2, middle), hidden),
        **{f"mlp.experts.{part}": into for part in ("gate_proj", "up_proj")},
        "mlp.experts.gate_up_proj": (_times(2, inner), hidden),
        **{f"block_sparse_moe.experts.{part}": into for part in ("w1", "w3")},
        **{"mlp.experts.down_proj": out_of, "block_sparse_moe.experts.w2": out_of},
    }


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other
