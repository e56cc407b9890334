"""transformers, with the libraries that its quantizers call."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.attention import Attention
from ckptkit.engines.base import ByModelType, Engine, lazily
from ckptkit.engines.prediction import Drafts
from ckptkit.engines.releases import Evidence, Release

ENGINE = Engine(
    name="transformers",
    label="transformers",
    package="transformers",
    releases=(
        Release(
            "5.16.1",
            "2026-08-26",
            how=(Evidence.RUN, Evidence.SOURCE),
            bundles=MappingProxyType({"compressed-tensors": "0.20.0", "quark": "0.13"}),
        ),
    ),
    reads=frozenset({"compressed-tensors", "quark", "fp8", "fp8-block", "fp8-transformers"}),
    unread=MappingProxyType(
        {
            "quark-fp8": "transformers 5.16 fails on Quark's fp8 mode",
            "modelopt": "transformers has no quantizer for ModelOpt: it skips the method and takes codes for values",
        }
    ),
    by_model_type=ByModelType.ALWAYS,
    wanted_keys=MappingProxyType(
        dict.fromkeys(
            ("ministral3", "mistral4"),
            ("rope_parameters", ("llama_4_scaling_beta", "original_max_position_embeddings")),
        )
    ),
    outcomes=lazily("ckptkit.engines.transformers.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.transformers.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.transformers.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.transformers.kernels", "KERNELS"),
    remarks=lazily("ckptkit.engines.transformers.remarks", "REMARKS"),
    # It holds all experts of a layer in one tensor, and has no mapping of ``experts.N.gate_proj`` to it: run with 5.16
    # to 5.19.
    experts_left_out=MappingProxyType(
        {
            "compressed-tensors": frozenset(
                {
                    *("Gemma4ForConditionalGeneration", "GptOssForCausalLM", "GraniteMoeHybridForCausalLM"),
                    *("PhimoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"),
                }
            ),
            # Their own quantizer makes FP8Experts of any class's.
            **dict.fromkeys(
                ("fp8", "fp8-block", "fp8-transformers"),
                frozenset(
                    {
                        *("Gemma4ForConditionalGeneration", "GraniteMoeForCausalLM", "GraniteMoeHybridForCausalLM"),
                        *("GraniteMoeSWAForCausalLM", "GraniteMoeSharedForCausalLM", "HYV4ForCausalLM"),
                        *("Mistral4ForCausalLM", "Qwen3VLMoeForConditionalGeneration"),
                        *("Step3p7ForConditionalGeneration", "ZayaForCausalLM"),
                    }
                ),
            ),
        }
    ),
    # quantizers/base.py makes linear layers of its experts, for this method.
    experts_one_by_one=MappingProxyType(
        {"compressed-tensors": frozenset({"Llama4ForConditionalGeneration", "Llama4ForCausalLM"})}
    ),
    architectures=lazily("ckptkit.engines.transformers.architectures", "ARCHITECTURES"),
    modules=lazily("ckptkit.engines.transformers.modules", "MODULES"),
    model_types=lazily("ckptkit.engines.transformers.model_types", "MODEL_TYPES"),
    drafts=Drafts.LEFT_OUT,
    # Whatever is quantized keeps its stored shape (core_model_loading.py, set_param_for_module), attention makes heads
    # of it with view(..., -1, head_dim), and integrations/sdpa_attention.py repeats keys where the config has more
    # heads of queries. Classes by_config cut or view by the number of heads (modeling_*.py).
    attention=Attention(
        derive=frozenset(
            {
                *("ChameleonForConditionalGeneration", "DbrxForCausalLM", "Glm4vForConditionalGeneration"),
                *("MllamaForCausalLM", "MllamaForConditionalGeneration", "StableLmForCausalLM"),
                *("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
            }
        ),
        by_shapes=True,
        by_config=frozenset(
            {
                *("ChameleonForConditionalGeneration", "MllamaForCausalLM", "MllamaForConditionalGeneration"),
                *("Phi3ForCausalLM", "Phi4MultimodalForCausalLM", "StableLmForCausalLM"),
            }
        ),
    ),
    lists_unexpected=True,
    demands=lazily("ckptkit.engines.transformers.support", "DEMANDS"),
    reproduced=lazily("ckptkit.engines.transformers.reproduced", "REPRODUCED"),
)
