"""What single model classes of transformers do otherwise than the rest: beginnings of their names, read in 5.16.1."""

from __future__ import annotations

#: One name after another, with blanks between them.
_WITH_PLAN = """
Qwen3 AXK1For AXK2For AfmoeFor ApertusFor ArceeFor AriaTextFor Cohere2For Cohere2MoeFor CohereCompassForCausalLM
CohereFor CwmFor DeepseekV2For DeepseekV32For DeepseekV3For DeepseekV4For DogeFor Dots1For Ernie4_5For Ernie4_5_MoeFor
Exaone4For ExaoneMoeFor FlexOlmoFor GPTNeoXFor Gemma2For Gemma3ForCausalLM Gemma3nForCausalLM Gemma4ForCausalLM
Gemma4UnifiedForCausalLM GemmaFor Glm4For Glm4MoeFor Glm4MoeLiteFor GlmFor GlmMoeDsaFor GptOssFor GraniteFor
GraniteMoeSWAFor GraniteSWAFor HYV3For HeliumFor HrmTextFor HunYuanMoEV1For HyperCLOVAXFor InklingForCausalLM Jais2For
LagunaFor Lfm2MoeFor Llama4For Llama4For LlamaFor LongcatFlashFor MellumFor MiMoV2FlashFor MiniCPM3For MiniMaxFor
MiniMaxM2For MiniMaxM3VLFor Ministral3For MinistralFor Mistral4For MistralFor MixtralFor NanoChatFor Olmo2For Olmo3For
OlmoFor OlmoHybridFor OlmoeFor Phi3For Phi4MultimodalFor PhiFor PhimoeFor Qwen2For Qwen2MoeFor SeedOssFor SmolLM3For
SolarOpenFor Starcoder2For VaultGemmaFor YoutuFor ZayaFor
"""
#: Classes with a plan of parallelism at the top of their config (``configuration_*.py``, ``base_model_tp_plan`` and
#: ``base_model_ep_plan``), or that ``quantizers/quantizer_finegrained_fp8.py`` gives one: every Qwen3.
_BASES = tuple(name.removesuffix("For") + "Model" for name in _WITH_PLAN.split() if name.endswith("For"))
WITH_PLAN = (*_WITH_PLAN.split(), *_BASES)

_MERGED_EXPERTS = """
AXK1ForCausalLM AXK2ForCausalLM AfmoeForCausalLM Cohere2MoeForCausalLM DeepseekOcr2ForConditionalGeneration
DeepseekV2ForCausalLM DeepseekV32ForCausalLM DeepseekV3ForCausalLM DeepseekV4ForCausalLM Dots1ForCausalLM
Ernie4_5_MoeForCausalLM Ernie4_5_VLMoeForConditionalGeneration ExaoneMoeForCausalLM FlexOlmoForCausalLM
Glm4MoeForCausalLM Glm4MoeLiteForCausalLM Glm4vMoeForConditionalGeneration Glm5NextForConditionalGeneration
GlmMoeDsaForCausalLM HYV3ForCausalLM HunYuanMoEV1ForCausalLM JambaForCausalLM Kimi_K25ForConditionalGeneration
LagunaForCausalLM Lfm2MoeForCausalLM LongcatFlashForCausalLM MellumForCausalLM MiMoV2FlashForCausalLM
MiniMaxForCausalLM MiniMaxM2ForCausalLM MiniMaxM3SparseForConditionalGeneration MixtralForCausalLM
NemotronHForCausalLM OlmoeForCausalLM Qwen2MoeForCausalLM Qwen3MoeForCausalLM Qwen3NextForCausalLM
Qwen3OmniMoeThinkerForConditionalGeneration Qwen3_5MoeForCausalLM Qwen3_5MoeForConditionalGeneration
Qwen4ExpForCausalLM Qwen4ExpForConditionalGeneration SolarOpenForCausalLM
"""
#: Classes that put single experts together while they load (``conversion_mapping.py``). PhimoeForCausalLM is mapped
#: too, but its experts stay at random values when it is run.
MERGED_EXPERTS = tuple(_MERGED_EXPERTS.split())
#: Of these, the classes of which no other part of a layer is mapped to that which holds the experts.
MERGED_BY_ONE_NAME = tuple(
    name for name in MERGED_EXPERTS if name not in ("MiniMaxM2ForCausalLM", "MixtralForCausalLM")
)

#: Classes whose stacks of experts have the names that they have in memory, or are renamed with their scales.
WITH_STACKS = (*MERGED_EXPERTS, "GraniteMoe", "Mistral4For", "Qwen3VLMoeFor", "ZayaFor")

#: Classes whose experts are called with other arguments than those of all others, or are no stacks (``modeling_*.py``).
OTHER_EXPERTS = ("Aria", "JetMoe", "Llama4")

#: Classes whose experts have no gate: nothing is put beside anything.
WITHOUT_GATE = ("NemotronH",)

#: Classes whose routers are parameters that have another name in memory than in files, and are multiplied with inputs
#: as they are (``modeling_*.py``): most others are called alike in both, or multiplied in float32.
KEPT_ROUTERS = ("GraniteMoe", "Mixtral", "MiniMaxFor")

#: Classes whose routers are linear layers as any other: all others have modules, or parameters, of their own.
LINEAR_ROUTERS = ("Afmoe", "Aria", "Jamba", "JetMoe", "LongcatFlash")

#: Classes whose stacks of experts have another name in memory than in files (``conversion_mapping.py``).
KEPT_STACKS = ("GraniteMoe",)

#: Classes with a config around the language model's that says alone whether the head is the embedding: nothing said
#: there means that it is not (``configuration_*.py``, asked with the key in either section). Others take over what the
#: language model's says, or are tied unless they say otherwise.
TIED_BY_TOP = tuple(
    f"{name}ForConditionalGeneration"
    for name in (
        *("Aria", "CohereCompass", "Exaone4_5_", "Glm46V", "Glm5Next", "Granite4Vision", "Idefics3", "LlavaNext"),
        *("MiniCPMV4_6", "QianfanOCR", "Qwen2_5OmniThinker", "Qwen3OmniMoeThinker", "Qwen3VL", "Qwen3VLMoe", "Qwen3_5"),
        *("Qwen3_5Moe", "Qwen4Exp", "SmolVLM", "VideoLlava", "VipLlava"),
    )
)
