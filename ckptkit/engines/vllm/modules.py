"""The names of modules that vLLM's classes have: the load stops at any other. Read in ``models``, and run.

A class without a head, and one with another head, is built of the class that generates text: the first with a head for
tokens, unless sentence-transformers' list of modules says that its outputs are pooled; the second with what
``config.model`` and ``models/adapters.py`` make of the endings of names.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS, NO_PATCHES, experts
from ckptkit.engines.vllm.class_names import NAMES

#: What a projection of an expert may be called: those that are not known are left out without a word.
_ANY = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
_POOLED = "modules.json"

MODULES = MappingProxyType(
    {
        **NAMES,
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"), DENSE),
        **dict.fromkeys(("LlamaModel", "MistralModel", "Qwen2Model"), replace(DENSE, unless=_POOLED)),
        **dict.fromkeys(
            (f"{name}ForSequenceClassification" for name in ("Llama", "Mistral", "Qwen2")), replace(DENSE, head="score")
        ),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS,
        "Qwen3ForSequenceClassification": replace(DENSE_WITH_HEAD_NORMS, head="score"),
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", _ANY, norms=True),
        # Run beside an image library: SigLIP is built as the names before transformers 5 have it.
        "Gemma3ForConditionalGeneration": NO_PATCHES,
        "MixtralForCausalLM": experts("block_sparse_moe.experts", "block_sparse_moe.gate", _ANY),
    }
)
