"""The names of modules that llama.cpp's converter maps for some classes: it stops at any other.

Read in ``gguf-py/gguf/tensor_mapping.py`` and the classes' ``modify_tensors``, and run.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.names import ATTENTION, DENSE, DENSE_WITH_HEAD_NORMS, ModuleNames, experts

_STRIPPED = "language_model."


def _mapped(names: ModuleNames, *, apart: bool = True) -> ModuleNames:
    return replace(names, strips=_STRIPPED, maps=True, apart=apart)


_MIXTRAL = ModuleNames(
    ATTENTION.linear
    | {f"block_sparse_moe.experts.*.{part}" for part in ("w1", "w2", "w3")}
    | {"block_sparse_moe.gate"},
    ATTENTION.others,
)

MODULES = MappingProxyType(
    {
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"), _mapped(DENSE)),
        "Phi3ForCausalLM": _mapped(DENSE, apart=False),
        "Qwen3ForCausalLM": _mapped(DENSE_WITH_HEAD_NORMS),
        "Qwen3MoeForCausalLM": _mapped(experts("mlp.experts", "mlp.gate", norms=True)),
        "MixtralForCausalLM": _mapped(_MIXTRAL),
    }
)
