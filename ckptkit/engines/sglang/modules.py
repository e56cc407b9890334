"""The names of modules that SGLang's classes need; what has another name is skipped. Read in ``srt/models``, run."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS, NO_HEAD_NO_PATCHES, experts

MODULES = MappingProxyType(
    {
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"), DENSE.skipping()),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS.skipping(),
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", norms=True).skipping(
            *((f"mlp.experts.0.{part}",) for part in ("gate_proj", "up_proj", "down_proj"))
        ),
        "MixtralForCausalLM": experts("block_sparse_moe.experts", "block_sparse_moe.gate", ("w1", "w2", "w3")).skipping(
            *((f"block_sparse_moe.experts.0.{part}",) for part in ("w1", "w2", "w3"))
        ),
        "Gemma3ForConditionalGeneration": NO_HEAD_NO_PATCHES,
    }
)
