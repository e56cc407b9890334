"""The names of modules that vLLM's classes have: the load stops at any other. Read in ``models``, and run."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS, experts

_GATED = ("gate_proj", "up_proj", "down_proj")

MODULES = MappingProxyType(
    {
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"), DENSE),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS,
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", norms=True),
        "MixtralForCausalLM": experts("block_sparse_moe.experts", "block_sparse_moe.gate", (*_GATED, "w1", "w2", "w3")),
    }
)
