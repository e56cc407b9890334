"""SGLang."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.attention import Attention
from ckptkit.engines.base import Engine, Splitting, lazily
from ckptkit.engines.key_demands import KeyDemand
from ckptkit.engines.launch import Launch
from ckptkit.engines.prediction import Drafts
from ckptkit.engines.releases import Evidence, Release
from ckptkit.engines.sglang.classes import BELOW, STAND_IN, STOOD_IN_FOR
from ckptkit.engines.stand_in import StandIn

ENGINE = Engine(
    name="sglang",
    label="SGLang",
    package="sglang",
    releases=(
        Release("", "2026-08", how=(Evidence.SOURCE, Evidence.REPORT), covers=("outcomes", "skip lists")),
        Release("0.5.23", "2026-10-30", how=(Evidence.RUN, Evidence.SOURCE)),
    ),
    reads=frozenset(
        {"compressed-tensors", "quark", "quark-fp8", "fp8", "fp8-block", "fp8-transformers", "modelopt", "mxfp8"}
    ),
    unread=MappingProxyType({"fbgemm": "SGLang has no fbgemm_fp8: ValueError: Unknown quantization method"}),
    follows_kv_cache=frozenset({"modelopt", "modelopt/file-alone"}),
    splitting=Splitting.BLOCKS,
    launch=Launch(
        command=("sglang", "serve", "--model-path"),
        tensor_parallel="--tp-size",
        kv_cache=("--kv-cache-dtype", "fp8_e4m3"),
        remote_code="--trust-remote-code",
        revision="--revision",
        eager=("--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"),
    ),
    outcomes=lazily("ckptkit.engines.sglang.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.sglang.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.sglang.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.sglang.kernels", "KERNELS"),
    eager=lazily("ckptkit.engines.sglang.eager", "EAGER"),
    architectures=lazily("ckptkit.engines.sglang.architectures", "ARCHITECTURES"),
    modules=lazily("ckptkit.engines.sglang.modules", "MODULES"),
    # srt/models/qwen3_next.py and qwen3_5.py; the classes of transformers have no default for it.
    wanted_keys=MappingProxyType(
        dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), ("", ("full_attention_interval",)))
    ),
    # srt/configs/nemotron_h.py (groups of states), srt/models/exaone4.py (letters of a pattern).
    key_demands=MappingProxyType(
        {
            "nemotron_h": KeyDemand("n_groups", like="mamba_n_groups", unsaid=8),
            "exaone4": KeyDemand("sliding_window_pattern", text=True),
        }
    ),
    drafts=Drafts.APART,
    # srt/models/*.py: self.head_dim = hidden_size // self.total_num_heads.
    attention=Attention(
        derive=frozenset(
            {
                *("Cohere2ForCausalLM", "CohereForCausalLM", "GraniteMoeForCausalLM", "GraniteMoeHybridForCausalLM"),
                *("GraniteMoeSWAForCausalLM", "GraniteMoeSharedForCausalLM", "Lfm2MoeForCausalLM"),
                *("MixtralForCausalLM", "Olmo2ForCausalLM", "OlmoForCausalLM", "OlmoeForCausalLM"),
                *("PersimmonForCausalLM", "Qwen2MoeForCausalLM", "StableLmForCausalLM", "Starcoder2ForCausalLM"),
            }
        )
    ),
    stand_in=StandIn(STAND_IN, STOOD_IN_FOR, BELOW, refused=lazily("ckptkit.engines.sglang.architectures", "REFUSED")),
)
