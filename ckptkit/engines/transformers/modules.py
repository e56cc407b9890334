"""The names of modules that transformers' classes need: an FP8 weight of which nothing is stored cannot be made up."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.names import ATTENTION, DENSE, DENSE_WITH_HEAD_NORMS, ModuleNames, experts
from ckptkit.engines.transformers.classes import TIED_BY_TOP
from ckptkit.engines.transformers.prefixes import PREFIXES

_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")


def _open(name: str) -> ModuleNames:
    """What is known of a class whose names are not listed: below which its layers are, and who says that it is tied."""
    below, elsewhere = PREFIXES.get(name, ((), ()))
    tied = name in TIED_BY_TOP
    return ModuleNames(
        frozenset(), frozenset(), open=True, lists=True, wants_head=tied, below=below, elsewhere=elsewhere
    )


MODULES = MappingProxyType(
    {
        **{name: _open(name) for name in (*PREFIXES, *TIED_BY_TOP)},
        **dict.fromkeys(_CLASSES, DENSE.listing()),
        "MixtralForCausalLM": ATTENTION.listing(
            (
                *("block_sparse_moe.experts.0.w1", "mlp.experts.0.w1"),
                *("mlp.experts", "block_sparse_moe.experts", "mlp.experts.gate_up_proj"),
            )
        ),
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", norms=True, plain_router=True).listing(
            ("mlp.gate",), ("mlp.experts.0.gate_proj", "mlp.experts", "mlp.experts.gate_up_proj")
        ),
        "Qwen3ForCausalLM": DENSE_WITH_HEAD_NORMS.listing(),
    }
)
