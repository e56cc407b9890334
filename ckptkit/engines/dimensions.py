"""The sizes that a model's config promises, from whichever level of a nested config holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.model import names
from ckptkit.record import record


@record
class Dimensions:
    """Sizes of the language model; None where the config does not say.

    ``layers`` counts the main stack, ``mtp_layers`` the layers for multi-token prediction after it; ``head_dim`` is
    what the config itself says, since what a missing key means depends on the architecture.
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

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Dimensions:
        """Read a config.json; values of the wrong type count as absent.

        >>> Dimensions.of({"text_config": {"hidden_size": 64}, "architectures": ["X"]}).hidden
        64
        """
        text = text_level(config)
        architectures = config.get("architectures")
        named = isinstance(architectures, list) and architectures and isinstance(architectures[0], str)
        heads = _size(text, "num_attention_heads")
        return cls(
            architecture=architectures[0] if named and isinstance(architectures, list) else None,
            hidden=_size(text, "hidden_size"),
            intermediate=_size(text, "intermediate_size"),
            moe_intermediate=_size(text, "moe_intermediate_size"),
            heads=heads,
            kv_heads=_size(text, "num_key_value_heads") or heads,
            head_dim=_size(text, "head_dim"),
            vocabulary=_size(text, "vocab_size"),
            layers=_size(text, "num_hidden_layers"),
            mtp_layers=_size(text, "num_nextn_predict_layers", "mtp_num_hidden_layers"),
            experts=_agreed(text, "num_experts", "num_local_experts", "n_routed_experts"),
            kv_lora_rank=_size(text, "kv_lora_rank"),
        )


def text_level(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model: the top level unless it has no layers of its own."""
    if "num_hidden_layers" in config:
        return config
    for key in names.TEXT_CONFIGS:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            return inner
    return config


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
