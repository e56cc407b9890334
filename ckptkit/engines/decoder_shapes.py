"""The weight shapes that a decoder's config asks for, by the names that most decoders share.

Only architectures whose classes were read are judged: another may well build its layers of other sizes from the same
keys. What a config does not say, or says layer by layer, is None and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ckptkit.engines.dimensions import Dimensions
from ckptkit.model import names


class Extent(NamedTuple):
    """One extent of a weight: how the config's keys give it, and what they give."""

    keys: str
    size: int


Shape = tuple[Extent | None, ...]

#: Architectures that build their layers from the usual keys, and their towers, if any, beside them.
_PLAIN = frozenset(
    {
        *("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "OlmoeForCausalLM", "Phi3ForCausalLM"),
        *("Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM"),
        *("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "GraniteForCausalLM"),
        *("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "Glm4MoeForCausalLM", "Qwen3NextForCausalLM"),
        *("Ernie4_5_MoeForCausalLM", "Exaone4ForCausalLM", "Glm4ForCausalLM", "HunYuanDenseV1ForCausalLM"),
        *("Lfm2ForCausalLM", "MiniMaxM2ForCausalLM", "Olmo2ForCausalLM"),
        *("ApertusForCausalLM", "ArceeForCausalLM", "BambaForCausalLM", "Cohere2ForCausalLM", "CohereForCausalLM"),
        *("Dots1ForCausalLM", "Ernie4_5ForCausalLM", "ExaoneMoeForCausalLM", "FalconH1ForCausalLM", "GlmForCausalLM"),
        *("GraniteMoeForCausalLM", "GraniteMoeHybridForCausalLM", "GraniteMoeSharedForCausalLM", "JambaForCausalLM"),
        *("Llama4ForCausalLM", "Ministral3ForCausalLM", "NemotronForCausalLM", "Olmo3ForCausalLM", "OlmoForCausalLM"),
        *("PhiForCausalLM", "PhimoeForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM", "SeedOssForCausalLM"),
        *("SmolLM3ForCausalLM", "StableLmForCausalLM", "Starcoder2ForCausalLM"),
        *("Glm4vMoeForConditionalGeneration", "InternVLForConditionalGeneration", "Llama4ForConditionalGeneration"),
        *("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"),
        *("Gemma3ForConditionalGeneration", "LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration"),
        *("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
        *("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
    }
)
#: Architectures in which a missing ``head_dim`` is ``hidden_size / num_attention_heads``.
_DERIVES_HEADS = frozenset(
    {
        *("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "OlmoeForCausalLM", "Phi3ForCausalLM"),
        *("Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteForCausalLM"),
        *("Ernie4_5_MoeForCausalLM", "Lfm2ForCausalLM", "Olmo2ForCausalLM"),
    }
)
#: Architectures whose queries carry an output gate: q_proj is twice as wide.
_GATED_QUERIES = frozenset(
    {
        *("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"),
        *("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"),
    }
)
#: Architectures whose experts have ``intermediate_size``, as others' dense layers do.
_EXPERTS_LIKE_MLP = frozenset({"MiniMaxM2ForCausalLM", "MixtralForCausalLM", "OlmoeForCausalLM", "PhimoeForCausalLM"})
#: Architectures whose norms of queries and keys go over all heads; others' are of one head.
_NORMS_OF_ALL_HEADS = frozenset({"MiniMaxM2ForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM", "OlmoeForCausalLM"})
#: What these norms are called, of queries and of keys.
NORMS_OF_HEADS = (("q_norm", "k_norm"), ("query_layernorm", "key_layernorm"), ("q_layernorm", "k_layernorm"))
#: Prefixes of the language model's layers, embedding and last norm.
STACKS = ("model.language_model.", "language_model.model.", "model.")
_STACK_PARTS = tuple(f"{stack}{part}" for stack in STACKS for part in ("layers.", "embed_tokens", "norm"))
_EXPERTS = ".experts."
_NORMS = (
    *("input_layernorm", "post_attention_layernorm"),
    *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
)


def is_judged(dimensions: Dimensions) -> bool:
    """Whether the architecture is one whose sizes are known to come from the usual keys."""
    return dimensions.architecture in _PLAIN


def decoder_shapes(dimensions: Dimensions) -> Mapping[str, Shape]:
    """Module, without the number of its layer or expert -> the shape of its weight, as far as the config says.

    >>> shapes = decoder_shapes(Dimensions(hidden=64, intermediate=80))
    >>> [extent.size for extent in shapes["mlp.down_proj"]], shapes["self_attn.q_proj"]
    ([64, 80], (None, Extent(keys='hidden_size', size=64)))
    """
    hidden = _extent("hidden_size", dimensions.hidden)
    inner = _extent("intermediate_size", dimensions.intermediate)
    vocabulary = _extent("vocab_size", dimensions.vocabulary)
    like_mlp = dimensions.architecture in _EXPERTS_LIKE_MLP
    expert = inner if like_mlp else _extent("moe_intermediate_size", dimensions.moe_intermediate)
    shapes: dict[str, Shape] = {
        **_attention(dimensions),
        "mlp.gate_up_proj": (_times(2, inner), hidden),
        "embed_tokens": (vocabulary, hidden),
        "lm_head": (vocabulary, hidden),
        "norm": (hidden,),
        **dict.fromkeys(
            ("mlp.gate", "block_sparse_moe.gate"), (_extent("the number of experts", dimensions.experts), hidden)
        ),
        **dict.fromkeys(_NORMS, (hidden,)),
    }
    for owner, width in (("mlp", inner), ("mlp.experts", expert), ("block_sparse_moe.experts", expert)):
        into, out_of = (width, hidden), (hidden, width)
        parts = {"gate_proj": into, "up_proj": into, "down_proj": out_of, "w1": into, "w3": into, "w2": out_of}
        shapes.update({f"{owner}.{part}": shape for part, shape in parts.items()})
    return MappingProxyType(shapes)


def kind_in_stack(module: str) -> str | None:
    """:func:`kind_of` a module of the language model's main stack; None outside it.

    >>> kind_in_stack("model.layers.3.mlp.up_proj"), kind_in_stack("visual.blocks.0.proj")
    ('mlp.up_proj', None)
    """
    inside = module.startswith(_STACK_PARTS) or names.is_head(module)
    return kind_of(module) if inside and not ("mtp" in module or "nextn" in module) else None


def kind_of(module: str) -> str:
    """A module's name from its layer on, without numbers: how :func:`decoder_shapes` calls it.

    >>> kind_of("model.layers.3.mlp.experts.7.up_proj"), kind_of("model.norm")
    ('mlp.experts.up_proj', 'norm')
    """
    position = module.rfind("layers.")
    if position < 0:
        return module.rpartition(".")[2]
    name = module[module.find(".", position + len("layers.")) + 1 :]
    number = name.find(_EXPERTS) + len(_EXPERTS)
    end = name.find(".", number) if number >= len(_EXPERTS) else -1
    return name if end < 0 else name[:number] + name[end + 1 :]


def _attention(dimensions: Dimensions) -> Mapping[str, Shape]:
    """The shapes of what makes queries, keys and values, and of what comes after attention."""
    heads, kv_heads, hidden = dimensions.heads, dimensions.kv_heads, _extent("hidden_size", dimensions.hidden)
    if dimensions.kv_lora_rank is not None:
        return _latent_attention(dimensions)
    head_dim, name = dimensions.head_size, "head_dim"
    if dimensions.head_dim is None and dimensions.unsaid_head_dim is None:
        head_dim = dimensions.hidden_through_heads if dimensions.architecture in _DERIVES_HEADS else None
    if dimensions.head_dim is None and not dimensions.unsaid_head_dim:
        name = "hidden_size / num_attention_heads"
    queries = keys = both = None
    if head_dim is not None:
        queries = Extent(f"num_attention_heads x {name}", heads * head_dim) if heads else None
        keys = Extent(f"num_key_value_heads x {name}", kv_heads * head_dim) if kv_heads else None
        total = f"(num_attention_heads + 2 x num_key_value_heads) x {name}"
        both = Extent(total, (heads + 2 * kv_heads) * head_dim) if heads and kv_heads else None
    gated = dimensions.architecture in _GATED_QUERIES
    each = _extent(name, head_dim)
    over_all = dimensions.architecture in _NORMS_OF_ALL_HEADS
    norms = {
        f"self_attn.{norm}": (extent if over_all else each,)
        for pair in NORMS_OF_HEADS
        for norm, extent in zip(pair, (queries, keys), strict=True)
    }
    return {
        **norms,
        "self_attn.q_proj": (_times(2, queries) if gated else queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.qkv_proj": (both, hidden),
        "self_attn.o_proj": (hidden, queries),
    }


def _latent_attention(dimensions: Dimensions) -> Mapping[str, Shape]:
    """The same for latent attention: all heads share what queries and keys are made of."""
    heads, hidden = dimensions.heads, _extent("hidden_size", dimensions.hidden)
    narrow = _extent("q_lora_rank", dimensions.q_lora_rank)
    shared = Extent("kv_lora_rank", dimensions.kv_lora_rank or 0)
    if heads is None or dimensions.key_dims is None or dimensions.value_dim is None:
        queries = pairs = values = None
    else:
        nope, rope = dimensions.key_dims
        queries = Extent("num_attention_heads x (qk_nope_head_dim + qk_rope_head_dim)", heads * (nope + rope))
        wide = nope + dimensions.value_dim
        pairs = Extent("num_attention_heads x (qk_nope_head_dim + v_head_dim)", heads * wide)
        values = Extent("num_attention_heads x v_head_dim", heads * dimensions.value_dim)
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.q_a_proj": (narrow, hidden),
        "self_attn.q_b_proj": (queries, narrow),
        "self_attn.kv_b_proj": (pairs, shared),
        "self_attn.o_proj": (hidden, values),
    }


def _extent(key: str, size: int | None) -> Extent | None:
    return None if size is None else Extent(key, size)


def _times(factor: int, extent: Extent | None) -> Extent | None:
    return None if extent is None else Extent(f"{factor} x {extent.keys}", factor * extent.size)
