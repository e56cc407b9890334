"""The names of modules that SGLang's classes need; what has another name is skipped. Read in ``srt/models``, run."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.names import DENSE, DENSE_WITH_HEAD_NORMS, NO_HEAD_NO_PATCHES, ModuleNames, experts
from ckptkit.engines.sglang.classes import STAND_IN

#: Plain decoders that stop at any name, of whose names it is known only what may lie right below attention and an MLP.
_STRICT = (
    *("CohereForCausalLM", "Cohere2ForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"),
    *(
        "GraniteForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "MiniCPMForCausalLM",
        "MiniCPM3ForCausalLM",
        "OlmoForCausalLM",
    ),
    *("Olmo2ForCausalLM", "OlmoeForCausalLM", "StableLmForCausalLM"),
)

_GATED = ("gate_proj", "up_proj")
#: Classes that leave out other names, and look merged parts up wherever these are stored, experts aside: the DeepSeeks
#: (``deepseek_common/deepseek_weight_loader.py``), whose layers have an MLP, and a shared expert.
_DEEPSEEK = ModuleNames(
    frozenset(),
    frozenset(),
    open=True,
    merges=frozenset(f"{owner}.{part}" for owner in ("mlp", "mlp.shared_experts") for part in _GATED),
)
#: qwen3.py.
_QWEN3 = replace(
    DENSE_WITH_HEAD_NORMS.skipping(),
    bare=True,
    merges=frozenset(
        {*(f"mlp.{part}" for part in _GATED), *(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj"))}
    ),
)

MODULES = MappingProxyType(
    {
        **dict.fromkeys(_STRICT, ModuleNames(frozenset(), frozenset(), open=True, strange=True)),
        **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"), DENSE.skipping()),
        "Qwen3ForCausalLM": _QWEN3,
        **dict.fromkeys(
            ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"),
            _DEEPSEEK,
        ),
        "Qwen3MoeForCausalLM": experts("mlp.experts", "mlp.gate", norms=True).skipping(
            *((f"mlp.experts.0.{part}",) for part in ("gate_proj", "up_proj", "down_proj"))
        ),
        "MixtralForCausalLM": experts("block_sparse_moe.experts", "block_sparse_moe.gate", ("w1", "w2", "w3")).skipping(
            *((f"block_sparse_moe.experts.0.{part}",) for part in ("w1", "w2", "w3"))
        ),
        # Towers that it has no class for are left to transformers, and stop it: they embed no words.
        "LlavaForConditionalGeneration": ModuleNames(frozenset(), frozenset(), open=True, towers=("pixtral",)),
        "Gemma3ForConditionalGeneration": NO_HEAD_NO_PATCHES,
        STAND_IN: replace(DENSE, bare=True, strict=True, apart=True),
        "Qwen3Model": replace(DENSE_WITH_HEAD_NORMS.skipping(), bare=True, head=""),
        "LlamaForSequenceClassification": replace(DENSE.skipping(), head="score"),
        "Qwen2ForSequenceClassification": replace(DENSE.skipping(), head="score", parameters=("score.bias",)),
        "Qwen3ForSequenceClassification": replace(
            DENSE_WITH_HEAD_NORMS.skipping(), head="score", parameters=("score.bias",)
        ),
        # srt/models/qwen3_vl.py: whether the head is the embedding is asked of the config around the language model's.
        **dict.fromkeys(
            ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
            ModuleNames(frozenset(), frozenset(), open=True, wants_head=True),
        ),
        # Under the names of newer exports the load stops at the first layer.
        "Qwen2_5_VLForConditionalGeneration": ModuleNames(
            frozenset(), frozenset(), lacks=frozenset({"model.language_model.embed_tokens"}), open=True
        ),
    }
)
