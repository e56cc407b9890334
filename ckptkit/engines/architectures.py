"""What a few architectures call their modules: released prefixes and expert projections, as engines map them.

An architecture that is not listed is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ExpertNames:
    """The container of routed experts, what their projections are called, and what else vLLM 0.32 maps to them."""

    container: str
    projections: tuple[str, ...]
    known_to_vllm: tuple[str, ...] = ()


_GATED = ("gate_proj", "up_proj", "down_proj")
_TEXT_ONLY = (
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "GemmaForCausalLM",
    "Glm4MoeForCausalLM",
    "GraniteForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "OlmoeForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3NextForCausalLM",
)

#: Architecture -> what may stand before ``layers.N`` of the language model.
RELEASED_PREFIXES: Mapping[str, frozenset[str]] = MappingProxyType({name: frozenset({"model"}) for name in _TEXT_ONLY})

#: Architecture -> where its routed experts sit. Qwen2-MoE, Qwen3-MoE and DeepSeek use the common names.
EXPERT_PARTS: Mapping[str, ExpertNames] = MappingProxyType(
    {
        "MixtralForCausalLM": ExpertNames("block_sparse_moe.experts", ("w1", "w2", "w3"), _GATED),
        "Qwen2MoeForCausalLM": ExpertNames("mlp.experts", _GATED),
        "Qwen3MoeForCausalLM": ExpertNames("mlp.experts", _GATED),
        "DeepseekV2ForCausalLM": ExpertNames("mlp.experts", _GATED),
        "DeepseekV3ForCausalLM": ExpertNames("mlp.experts", _GATED),
        "OlmoeForCausalLM": ExpertNames("mlp.experts", _GATED),
    }
)
