"""The sizes that a model's config promises, from whichever level of a nested config holds them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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
        unsaid_heads = _unsaid_size(_HEADS, text, "num_attention_heads") if "hidden_size" in text else None
        heads = _size(text, "num_attention_heads") or unsaid_heads
        unsaid = _unsaid(text)
        return cls(
            architecture=architectures[0] if named and isinstance(architectures, list) else None,
            hidden=_size(text, "hidden_size") or unsaid.get("hidden_size"),
            intermediate=_size(text, "intermediate_size") or unsaid.get("intermediate_size"),
            moe_intermediate=_size(text, "moe_intermediate_size"),
            heads=heads,
            kv_heads=_size(text, "num_key_value_heads")
            or _unsaid_size(_KV_HEADS, text, "num_key_value_heads")
            or heads,
            head_dim=_size(text, "head_dim"),
            vocabulary=_size(text, "vocab_size") or unsaid.get("vocab_size"),
            layers=_size(text, "num_hidden_layers"),
            mtp_layers=_size(text, "num_nextn_predict_layers", "mtp_num_hidden_layers"),
            experts=_agreed(text, "num_experts", "num_local_experts", "n_routed_experts"),
            kv_lora_rank=_size(text, "kv_lora_rank"),
        )


#: Model type -> the heads of keys where the key is missing, and not null, in transformers 5.19; of all others these are
#: as many as of queries. Every engine here reads config.json through its classes.
_KV_HEADS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("qwen2", "qwen3", "exaone4", "stablelm", "qwen3_vl_text"), 32),
        **dict.fromkeys(("qwen2_moe", "gemma", "qwen3_vl_moe_text"), 16),
        **dict.fromkeys(("mistral", "ministral", "ministral3", "mixtral", "phimoe", "gpt_oss", "glm4_moe"), 8),
        **dict.fromkeys(("minimax_m2", "seed_oss", "qwen2_vl_text", "qwen2_5_vl_text", "cwm", "laguna", "lfm2"), 8),
        **dict.fromkeys(("qwen3_moe", "gemma2", "gemma3_text", "smollm3", "ernie4_5_moe", "qwen3_5_text"), 4),
        **dict.fromkeys(("qwen3_next", "glm", "glm4", "starcoder2", "ernie4_5", "qwen3_5_moe_text"), 2),
        "helium": 20,
    }
)


#: The same for the heads of queries; nothing is known of types that are not listed.
_HEADS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("llama", "mistral", "ministral", "ministral3", "mixtral", "qwen2", "qwen3", "qwen3_moe"), 32),
        **dict.fromkeys(("phi3", "phimoe", "phi", "glm", "glm4", "lfm2", "exaone4", "stablelm", "olmo2", "olmo3"), 32),
        **dict.fromkeys(("deepseek_v2", "granite", "granitemoe", "qwen3_vl_text", "hunyuan_v1_dense", "dots1"), 32),
        **dict.fromkeys(("nemotron_h", "falcon_h1", "arcee", "apertus", "jamba", "bamba"), 32),
        **dict.fromkeys(("qwen2_moe", "gemma", "smollm3", "ernie4_5", "qwen3_5_text", "qwen3_5_moe_text"), 16),
        **dict.fromkeys(("qwen3_next", "olmoe", "qwen3_vl_moe_text"), 16),
        **dict.fromkeys(("gemma2", "gemma3_text"), 8),
        **dict.fromkeys(("gpt_oss", "cohere", "cohere2", "qwen2_vl_text", "qwen2_5_vl_text", "solar_open"), 64),
        **dict.fromkeys(("minimax_m2", "cwm", "laguna", "nemotron"), 48),
        **dict.fromkeys(("ernie4_5_moe", "helium", "bitnet", "glm4_moe_lite"), 20),
        **{"glm4_moe": 96, "seed_oss": 80, "starcoder2": 24, "deepseek_v3": 128, "llama4_text": 40},
    }
)


#: Model type -> other sizes that stand for keys that are missing, likewise.
_SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "llama": (4096, 11008, 32000),
        **dict.fromkeys(("mistral", "mixtral"), (4096, 14336, 32000)),
        **dict.fromkeys(("qwen2", "qwen3"), (4096, 22016, 151936)),
        "qwen3_moe": (2048, 6144, 151936),
        "phi3": (3072, 8192, 32064),
    }
)


def _unsaid(text: Mapping[str, Any]) -> Mapping[str, int]:
    """The size that a config means by saying nothing of it; where more are missing nothing is concluded.

    >>> dict(_unsaid({"model_type": "llama", "hidden_size": 64, "vocab_size": 32}))
    {'intermediate_size': 11008}
    """
    sizes = _SIZES.get(str(text.get("model_type")), ())
    found = dict(zip(("hidden_size", "intermediate_size", "vocab_size"), sizes, strict=False))
    absent = {key: size for key, size in found.items() if key not in text}
    return absent if len(absent) == 1 else {}


def _unsaid_size(sizes: Mapping[str, int], text: Mapping[str, Any], key: str) -> int | None:
    """What a config means by saying nothing under a key.

    >>> [_unsaid_size(_KV_HEADS, {"model_type": name}, "num_key_value_heads") for name in ("mixtral", "llama")]
    [8, None]
    """
    model_type = text.get("model_type")
    return sizes.get(str(model_type)) if key not in text and isinstance(model_type, str) else None


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
