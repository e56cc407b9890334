"""vLLM."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.attention import Attention
from ckptkit.engines.base import ByModelType, Engine, Splitting, lazily
from ckptkit.engines.finer_blocks import FinerBlocks
from ckptkit.engines.gpus import CPU, WITHOUT_FP8
from ckptkit.engines.launch import Launch
from ckptkit.engines.prediction import Drafts
from ckptkit.engines.releases import Evidence, Release

ENGINE = Engine(
    name="vllm",
    label="vLLM",
    package="vllm",
    releases=(
        Release(
            "0.32.0",
            "2026-10-18",
            how=(Evidence.RUN, Evidence.SOURCE),
            bundles=MappingProxyType({"compressed-tensors": "0.17.0", "transformers": "5.19.0"}),
        ),
    ),
    reads=frozenset(
        {
            *("compressed-tensors", "quark", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "fbgemm"),
            *("modelopt", "mxfp8"),
        }
    ),
    follows_kv_cache=frozenset({"compressed-tensors", "modelopt", "modelopt/own-layout", "modelopt/file-alone"}),
    by_model_type=ByModelType.UNNAMED,
    splitting=Splitting.BLOCKS,
    finer_blocks=FinerBlocks(
        formats=("fp8-block",),
        smallest=32,
        without=(*WITHOUT_FP8, CPU),
        where="layers/fused_moe/oracle/fp8.py (refine_fp8_moe_block_shape)",
    ),
    launch=Launch(
        command=("vllm", "serve"),
        tensor_parallel="--tensor-parallel-size",
        kv_cache=("--kv-cache-dtype", "fp8"),
        remote_code="--trust-remote-code",
        revision="--revision",
        eager=("--enforce-eager",),
    ),
    outcomes=lazily("ckptkit.engines.vllm.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.vllm.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.vllm.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.vllm.kernels", "KERNELS"),
    eager=lazily("ckptkit.engines.vllm.eager", "EAGER"),
    remarks=lazily("ckptkit.engines.vllm.remarks", "REMARKS"),
    architectures=lazily("ckptkit.engines.vllm.architectures", "ARCHITECTURES"),
    newer=MappingProxyType(
        dict.fromkeys(
            (
                *("ClefOmniForJointSchema", "EmbeddingGemma2Model", "ExaoneMoEForCausalLM"),
                "MiniCPMV4_7ForConditionalGeneration",
            ),
            "0.32",
        )
    ),
    modules=lazily("ckptkit.engines.vllm.modules", "MODULES"),
    drafts=Drafts.APART,
    # models/*.py: self.head_dim = hidden_size // self.total_num_heads.
    attention=Attention(
        derive=frozenset(
            {
                *("GraniteMoeForCausalLM", "GraniteMoeHybridForCausalLM", "GraniteMoeSharedForCausalLM"),
                *("JambaForCausalLM", "Lfm2ForCausalLM", "Lfm2MoeForCausalLM", "OlmoHybridForCausalLM"),
                *("OlmoeForCausalLM", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "StableLmForCausalLM"),
                *("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
            }
        )
    ),
    reproduced=lazily("ckptkit.engines.vllm.reproduced", "REPRODUCED"),
)
