"""What a few architectures call their modules: released prefixes and expert projections, as engines map them.

An architecture that is not listed is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.vllm.classes import OWN_LISTS, QUANTIZED_PREDICTION_INPUTS, QUANTIZED_ROUTERS
from ckptkit.record import record


@record
class ExpertNames:
    """The container of routed experts, what their projections are called, and what else vLLM maps to them."""

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
    "Glm4ForCausalLM",
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

#: The same of models with towers beside the language model, which other releases of exporters stored otherwise.
COMPOSITE_PREFIXES: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(
        ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"), frozenset({"model.language_model"})
    )
)

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


#: Architectures whose stacks of experts are stored as [experts, inputs, outputs], unlike all others.
INPUTS_FIRST = ("GptOss", "Llama4", "OpenAIPrivacyFilter")
#: Architectures whose stacks have the rows of gate and up in turn, and not one after the other.
IN_TURN = ("GptOss",)

#: Architectures whose released files call a scale ``scale`` alone, and which alone are mapped from that.
BARE_SCALES = ("DeepseekV4",)

#: Architectures with layers of transformers' Conv1D, whose weights are [inputs, outputs], and what these are called.
_CONV1D = ("GPT2", "ImageGPT", "OpenAIGPT")
_CONV1D_PARTS = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})

_ROUTER = re.compile(r"(^|\.)(router(\.\w+)?|(mlp|block_sparse_moe|feed_forward|moe|mixer)\.gate)$")


_PREDICTION_INPUT = re.compile(r"(^|\.)eh_proj$")
#: Heads of prediction layers, which no quantization config reaches, and the indexers' projection of weights.
_PLAIN = re.compile(r"(^|\.)(shared_head\.head|indexer\.weights_proj)$")


def leaves_alone(architecture: str | None, module: str) -> bool:
    """Whether a model class builds a module plain whatever the config says: routers, and a few projections.

    >>> leaves_alone("DeepseekV3ForCausalLM", "model.layers.61.eh_proj")
    True
    >>> leaves_alone("MiMoV2ForCausalLM", "model.mtp.layers.0.eh_proj")
    False
    """
    if (architecture or "").startswith(OWN_LISTS):
        return True
    if _PREDICTION_INPUT.search(module):
        return not (architecture or "").startswith(QUANTIZED_PREDICTION_INPUTS)
    return _PLAIN.search(module) is not None or leaves_router_alone(architecture, module)


def has_inputs_first(architecture: str | None, module: str) -> bool:
    """Whether a module is stored as [inputs, outputs], and is no linear layer to any tool.

    >>> has_inputs_first("GPT2LMHeadModel", "h.0.mlp.c_fc"), has_inputs_first("GPTBigCodeForCausalLM", "h.0.mlp.c_fc")
    (True, False)
    """
    return (architecture or "").startswith(_CONV1D) and module.rpartition(".")[2] in _CONV1D_PARTS


def has_outputs_first(architecture: str | None, hidden: int | None, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a stack of plain experts is [experts, outputs, inputs], as far as class and hidden size tell.

    Where both sizes are the hidden one, the class decides.

    >>> has_outputs_first("Qwen3MoeForCausalLM", 64, "mlp.experts.gate_up_proj", (8, 128, 64))
    True
    >>> has_outputs_first("Llama4ForCausalLM", 64, "mlp.experts.down_proj", (8, 64, 64))
    False
    """
    if (architecture or "").startswith(INPUTS_FIRST):
        return False
    return hidden is None or shape[-2 if name.endswith("down_proj") else -1] == hidden


def leaves_router_alone(architecture: str | None, module: str) -> bool:
    """Whether a module is a router, and of a class that never quantizes it.

    >>> leaves_router_alone("DeepseekV3ForCausalLM", "model.layers.0.mlp.gate")
    True
    >>> leaves_router_alone("Qwen3MoeForCausalLM", "model.layers.0.mlp.gate")
    False
    >>> leaves_router_alone("Qwen2MoeForCausalLM", "model.layers.0.mlp.shared_expert_gate")
    False
    """
    return _ROUTER.search(module) is not None and not (architecture or "").startswith(QUANTIZED_ROUTERS)
