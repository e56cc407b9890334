"""The names of modules that vLLM's classes have: the load stops at any other. Read in ``models``, and run."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS, experts

#: What a projection of an expert may be called: those that are not known are left out without a word.
_ANY = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")

MODULES = MappingProxyType(
    {
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"), DENSE),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS,
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", _ANY, norms=True),
        "MixtralForCausalLM": experts("block_sparse_moe.experts", "block_sparse_moe.gate", _ANY),
    }
)
