"""The names of modules in layers of further classes of vLLM, whose loader stops at a tensor of any other name.

Read in ``models`` (``AutoWeightsLoader``; ``deepseek_v2.py`` looks each name up itself) and, of classes left to
transformers, in what these store; both releases were run on most of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.names import ATTENTION, DENSE, ModuleNames

_PROJECTIONS = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
#: What layers that predict have besides; whether they are loaded is told elsewhere.
_PREDICTION = frozenset(
    {"eh_proj", "enorm", "hnorm", "embed_tokens", "shared_head", "shared_head.norm", "shared_head.head"}
)
_LATENT = frozenset(
    f"self_attn.{part}"
    for part in (
        *("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "q_a_layernorm", "kv_a_layernorm"),
        *("fused_qkv_a_proj", "mla_attn"),
    )
)
_HEADS = frozenset({"self_attn.q_norm", "self_attn.k_norm"})
_QUERIES = frozenset({"self_attn.query_layernorm", "self_attn.key_layernorm"})
_AROUND = frozenset({"pre_feedforward_layernorm", "post_feedforward_layernorm"})


def _experts(container: str, *more: str) -> frozenset[str]:
    """Experts one by one or in stacks, and what is beside them."""
    inner = {f"{container}.*.{part}" for part in _PROJECTIONS}
    return frozenset({container, *(f"{container}.{part}" for part in ("gate_up_proj", "down_proj")), *inner, *more})


def _listed(base: ModuleNames, *more: frozenset[str]) -> ModuleNames:
    return replace(base, linear=base.linear.union(*more), listed=True)


def _ending(base: ModuleNames, *more: frozenset[str]) -> ModuleNames:
    """The same for one whose loader passes no layer over: one that predicts has no place either. transformers' own do,
    and what is derived from DeepSeek's, as the config counts them."""
    return replace(_listed(base, *more), ends=True)


def _parts_of(owner: str) -> tuple[str, ...]:
    return tuple(f"{owner}.{part}" for part in ("gate_proj", "up_proj", "down_proj", "gate_up_proj"))


_ROUTED = _experts("mlp.experts", "mlp.gate")
_SPARSE = frozenset({"block_sparse_moe", *_experts("block_sparse_moe.experts", "block_sparse_moe.gate")})
_SHARED = frozenset(f"mlp.{part}" for part in _parts_of("shared_experts"))
_WITH_SHARED = _ROUTED | _SHARED | _PREDICTION

#: Classes that leave out what is called after multi-token prediction (``hf_to_vllm_mapper``), and no layer by its
#: number, or nothing at all (``bailing_moe.py``): ``AutoWeightsLoader`` stops at any beyond the last.
_KNOWN_BY_NAME = (
    *("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM", "Exaone4_5_ForConditionalGeneration", "Qwen3NextForCausalLM"),
    *("Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM", "Qwen3_5ForConditionalGeneration"),
    *("Qwen3_5MoeForConditionalGeneration", "Ernie4_5_MoeForCausalLM", "MiMoForCausalLM", "NemotronHForCausalLM"),
    *("BailingMoeForCausalLM", "BailingMoeV2ForCausalLM"),
)

NAMES: Mapping[str, ModuleNames] = MappingProxyType(
    {
        **dict.fromkeys(_KNOWN_BY_NAME, ModuleNames(frozenset(), frozenset(), open=True, ends=True)),
        **dict.fromkeys(("CohereForCausalLM", "Cohere2ForCausalLM"), _ending(DENSE, _HEADS)),
        **dict.fromkeys(("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"), _listed(DENSE, _LATENT, _WITH_SHARED)),
        **dict.fromkeys(("Dots1ForCausalLM", "Glm4MoeForCausalLM"), _listed(DENSE, _HEADS, _WITH_SHARED)),
        "Exaone4ForCausalLM": _ending(DENSE, _HEADS, _AROUND),
        **dict.fromkeys(("Olmo2ForCausalLM", "Olmo3ForCausalLM"), _listed(DENSE, _HEADS, _AROUND)),
        "GemmaForCausalLM": _ending(DENSE),
        # Its head is the embedding, and no other has a place.
        "Gemma2ForCausalLM": replace(_ending(DENSE, _AROUND), lacks=frozenset({"lm_head"})),
        "Gemma3ForCausalLM": _ending(DENSE, _AROUND, _HEADS),
        "Glm4ForCausalLM": _listed(DENSE, frozenset({"post_mlp_layernorm", "post_self_attn_layernorm"})),
        "GraniteForCausalLM": _ending(DENSE),
        "HunYuanDenseV1ForCausalLM": _listed(DENSE, _QUERIES),
        "HunYuanMoEV1ForCausalLM": _listed(
            DENSE, _QUERIES, _ROUTED, frozenset(f"mlp.{part}" for part in ("gate.wg", *_parts_of("shared_mlp")))
        ),
        "NemotronForCausalLM": _ending(DENSE),
        "OlmoForCausalLM": _listed(DENSE),
        "OlmoeForCausalLM": _ending(ATTENTION, _HEADS, _ROUTED),
        "PhimoeForCausalLM": _listed(ATTENTION, _SPARSE),
        "MiniMaxM2ForCausalLM": _listed(ATTENTION, _HEADS, _SPARSE, _PREDICTION),
        "SeedOssForCausalLM": _listed(DENSE),
        "SmolLM3ForCausalLM": _listed(DENSE),
        "StableLmForCausalLM": _ending(DENSE),
        "Starcoder2ForCausalLM": _listed(ATTENTION, frozenset({"mlp.c_fc", "mlp.c_proj"})),
        "Qwen2MoeForCausalLM": _ending(
            DENSE, _ROUTED, frozenset({"mlp.shared_expert_gate", *(f"mlp.{p}" for p in _parts_of("shared_expert"))})
        ),
    }
)
