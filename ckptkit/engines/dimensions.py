"""The sizes that a model's config promises, from whichever level of a nested config holds them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.engines.unsaid_heads import UNSAID_HEADS, UnsaidHeads
from ckptkit.model import names
from ckptkit.record import record

#: The keys that say how attention is split.
_OF_HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim")


@record
class Dimensions:
    """Sizes of the language model; None where the config does not say.

    ``layers`` counts the main stack, ``mtp_layers`` the layers for multi-token prediction after it; ``head_dim`` is
    what the config itself says, and ``unsaid_head_dim`` what the model type stands for where it says nothing: a number,
    or 0 for ``hidden`` through ``heads``. ``unsaid`` holds the keys of heads for which the model type speaks.
    ``key_dims`` and ``value_dim`` are the sizes of a head in latent attention: without and with a position, and of
    values.
    """

    architecture: str | None = None
    hidden: int | None = None
    intermediate: int | None = None
    moe_intermediate: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    layers: int | None = None
    mtp_layers: int | None = None
    experts: int | None = None
    kv_lora_rank: int | None = None
    q_lora_rank: int | None = None
    key_dims: tuple[int, int] | None = None
    value_dim: int | None = None
    unsaid_head_dim: int | None = None
    unsaid: frozenset[str] = frozenset()

    @property
    def head_size(self) -> int | None:
        """The size of a head: what the config says, or what its model type stands for; None where that is not known.

        >>> Dimensions.of({"model_type": "olmo2", "hidden_size": 64, "num_attention_heads": 4}).head_size
        16
        """
        if self.head_dim is not None or self.unsaid_head_dim != 0:
            return self.head_dim or self.unsaid_head_dim
        return self.hidden_through_heads

    @property
    def hidden_through_heads(self) -> int | None:
        """The hidden size through the number of heads; None where that is no whole number."""
        if self.hidden is None or self.heads is None or self.hidden % self.heads:
            return None
        return self.hidden // self.heads

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Dimensions:
        """Read a config.json; values of the wrong type count as absent.

        >>> Dimensions.of({"text_config": {"hidden_size": 64}, "architectures": ["X"]}).hidden
        64
        """
        text = text_level(config)
        architectures = config.get("architectures")
        named = isinstance(architectures, list) and architectures and isinstance(architectures[0], str)
        model_type = text.get("model_type")
        heads_unsaid = UNSAID_HEADS.get(model_type) if isinstance(model_type, str) else None
        absent = frozenset(key for key in _OF_HEADS if key not in text) if heads_unsaid is not None else frozenset()
        heads = _size(text, "num_attention_heads")
        if heads_unsaid is not None and "num_attention_heads" in absent and "hidden_size" in text:
            heads = heads_unsaid.queries
        keys = heads_unsaid.keys if heads_unsaid is not None and "num_key_value_heads" in absent else None
        unsaid = _unsaid(text)
        nope, rope = _size(text, "qk_nope_head_dim"), _size(text, "qk_rope_head_dim")
        return cls(
            architecture=architectures[0] if named and isinstance(architectures, list) else None,
            hidden=_size(text, "hidden_size") or unsaid.get("hidden_size"),
            intermediate=_size(text, "intermediate_size") or unsaid.get("intermediate_size"),
            moe_intermediate=_size(text, "moe_intermediate_size"),
            heads=heads,
            kv_heads=_size(text, "num_key_value_heads") or keys or heads,
            head_dim=_size(text, "head_dim"),
            vocabulary=_size(text, "vocab_size") or unsaid.get("vocab_size"),
            layers=_size(text, "num_hidden_layers"),
            mtp_layers=_size(text, "num_nextn_predict_layers", "mtp_num_hidden_layers"),
            experts=_agreed(text, "num_experts", "num_local_experts", "n_routed_experts"),
            kv_lora_rank=_size(text, "kv_lora_rank"),
            q_lora_rank=_size(text, "q_lora_rank"),
            key_dims=(nope, rope) if nope is not None and rope is not None else None,
            value_dim=_size(text, "v_head_dim"),
            unsaid_head_dim=_unsaid_head_dim(heads_unsaid, text),
            unsaid=absent,
        )


#: Model type -> sizes that stand for keys that are missing, in transformers 5.19.
_SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "llama": (4096, 11008, 32000),
        **dict.fromkeys(("mistral", "mixtral"), (4096, 14336, 32000)),
        **dict.fromkeys(("qwen2", "qwen3"), (4096, 22016, 151936)),
        "qwen3_moe": (2048, 6144, 151936),
        "phi3": (3072, 8192, 32064),
    }
)


def _unsaid_head_dim(unsaid: UnsaidHeads | None, text: Mapping[str, Any]) -> int | None:
    """What stands for a size of heads that is not said; null is as good as nothing where the size is derived."""
    if unsaid is None or text.get("head_dim") is not None:
        return None
    return unsaid.size if "head_dim" not in text and unsaid.size is not None else None if unsaid.size else 0


def _unsaid(text: Mapping[str, Any]) -> Mapping[str, int]:
    """The size that a config means by saying nothing of it; where more are missing nothing is concluded.

    >>> dict(_unsaid({"model_type": "llama", "hidden_size": 64, "vocab_size": 32}))
    {'intermediate_size': 11008}
    """
    sizes = _SIZES.get(str(text.get("model_type")), ())
    found = dict(zip(("hidden_size", "intermediate_size", "vocab_size"), sizes, strict=False))
    absent = {key: size for key, size in found.items() if key not in text}
    return absent if len(absent) == 1 else {}


def text_level(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model: the top level unless it has no layers of its own."""
    if "num_hidden_layers" in config:
        return config
    for key in names.TEXT_CONFIGS:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            return inner
    return config


def ties_head(config: Mapping[str, Any]) -> bool:
    """Whether a config says that the output head is the embedding.

    >>> ties_head({"num_hidden_layers": 2, "tie_word_embeddings": True})
    True
    """
    return text_level(config).get("tie_word_embeddings", config.get("tie_word_embeddings")) is True


def _agreed(config: Mapping[str, Any], *keys: str) -> int | None:
    """The number under any of some keys; None where they differ: which one counts is the class's business."""
    sizes = {size for key in keys if (size := _size(config, key)) is not None}
    return sizes.pop() if len(sizes) == 1 else None


def _size(config: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = config.get(key)
        if type(value) is int and value > 0:
            return value
    return None
