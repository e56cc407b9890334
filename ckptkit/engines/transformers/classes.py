"""What single model classes of transformers do otherwise than the rest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Dialect -> classes that hold all experts of a layer in one tensor, and have no mapping of ``experts.N.gate_proj`` to
#: it: run with 5.16 to 5.19.
SINGLE_EXPERTS_LEFT_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "compressed-tensors": frozenset(
            {
                *("Gemma4ForConditionalGeneration", "GptOssForCausalLM", "GraniteMoeHybridForCausalLM"),
                *("MiniMaxM2ForCausalLM", "PhimoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"),
            }
        )
    }
)
