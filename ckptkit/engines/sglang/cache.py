"""Classes of SGLang that drop scales of keys and values, by where these are stored: 1.0 is used in their place.

Each class of 0.5.23 was asked to load such scales (tests/interop/drivers/sglang_cache_names.py). A class may also build
its attention without the quantization config, so that there is no parameter for them (``RadixAttention`` in
``srt/models``). Classes with latent or linear attention, and those that only pass tensors on, are not among these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.cache_places import Place

#: Attention has no such parameters, or nothing finds them.
_NEVER = (
    *("DiffusionGemmaForBlockDiffusion", "ExaoneMoEFor", "ExaoneMoeFor", "Glm4MoeForCausalLM", "Glm4vMoeFor"),
    *("GptOssFor", "HYV3For", "HrmTextFor", "LLaDA2MoeModelLM", "Lfm2Bidirectional", "Lfm2For", "Lfm2MoeFor"),
    *("Llama4For", "MellumFor", "Qwen3For", "Qwen3Model", "Qwen3MoeForCausalLM", "Qwen3OmniMoeFor", "Qwen3VLFor"),
    *("Qwen3VLMoeFor", "SDARForCausalLM", "TorchNativeLlama", "TorchNativePhi3"),
)
#: Names of checkpoints are not mapped to those of parameters.
_UNMAPPED = (
    *("AfmoeFor", "BailingMoeV2_5ForCausalLM", "Cohere2MoeFor", "Glm4ForCausalLM", "Glm4vForCond", "Glm5NextForCond"),
    *("GlmImageFor", "GlmOcrForCond", "IQuestLoopCoderFor", "LocateAnythingFor", "NanbeigeFor", "OrionFor"),
    *("PersimmonFor", "PhiForCausalLM", "QWenLMHead", "QuantMixtralFor", "Qwen2ForCausalLM", "Qwen2ForReward"),
    *("Qwen2ForSequence", "Qwen2MoeFor", "Qwen3ASRFor", "Sarashina2VisionFor", "SolarForCausalLM", "Spark2_5For"),
    "ZayaFor",
)
#: Below attention they are not mapped, and below projections they stop the load.
_BELOW_ATTENTION = (
    *("GraniteMoeForCausalLM", "GraniteMoeSWAFor", "GraniteMoeSharedFor", "MixtralFor", "OPTFor", "Starcoder2For"),
    *("HunYuanDenseV1For", "HunYuanMoEV1For"),
)
#: So, but those of a merged projection are left out too.
_BELOW_MERGED = ("BailingMoeV3ForCausalLM", "MiMoV2For", "MiMoV2Flash", "Phi4MMFor", "Qwen2_5_VLFor")
#: They are mapped from below attention, and from single projections.
_MAPPED = (
    *("ApertusFor", "DbrxFor", "Exaone4For", "Gemma3ForCausalLM", "Gemma3ForCond", "Gemma3nForCond", "Gemma4ForCausal"),
    *(
        "ArceeFor",
        "IQuestCoderFor",
        "InternLM3For",
        "LlamaFor",
        "Ministral3For",
        "MistralForCausalLM",
        "Phi3ForCausalLM",
    ),
    *("TeleFLMFor", "MiniMaxM2For", "Gemma3nForCausalLM", "Mistral3For", "LlavaForConditionalGeneration"),
)
#: They are mapped from below attention alone.
_MAPPED_BELOW = ("BeamFor", "Cohere2ForCausalLM", "CohereFor", "GPTJFor", "Gemma2For", "PhiMoEFor")
#: One scale for keys and values is left out, where other names stop the load.
SKIP_ONE_SCALE = ("GraniteForCausalLM", "GraniteSWAFor", "OlmoeFor")

#: Classes around a language model of another class, which they only pass tensors on to, and a few that could not be
#: asked without a real model: what becomes of such scales is not known.
NOT_ASKED = (
    *("BailingMM", "BailingMoEFor", "BailingMoeForCausalLM", "BailingMoeV2For", "Cohere2VisionFor", "DotsOCR"),
    *("DotsVLM", "Ernie4_5_VL", "Gemma4ForCond", "Gemma4Unified", "Glm4MoeLite", "Grok1", "InternVLChat", "LagunaFor"),
    *("Lfm2Vl", "LightOnOCR", "LlavaLlama", "LlavaQwen", "LlavaMistral", "LlavaVid", "MiniCPMV", "NemotronH_"),
    *("SDARMoe", "Step3p5", "Step3p7", "StepVL", "VoxtralFor", "XllmFor", "YiVL", "DeciLM", "K2Horizon"),
)

#: Classes that drop them whatever their names, but for those that only engines use.
DROP_ALL = (*_NEVER, *_UNMAPPED)

DROPS: Mapping[Place, tuple[str, ...]] = MappingProxyType(
    {
        Place.ATTENTION: (*DROP_ALL, *_BELOW_ATTENTION, *_BELOW_MERGED),
        Place.BOTH: (*DROP_ALL, *_BELOW_ATTENTION, *_BELOW_MERGED, *SKIP_ONE_SCALE),
        Place.PROJECTION: (*DROP_ALL, "Gemma3nForCausalLM"),
        Place.OUTPUT: (*DROP_ALL, "Gemma3nForCausalLM", "MiniMaxM2For"),
        Place.MERGED: (*DROP_ALL, *_BELOW_MERGED, *_MAPPED),
        Place.INNER: (*_NEVER, *_MAPPED, *_MAPPED_BELOW, "HunYuanDenseV1For", "HunYuanMoEV1For"),
    }
)
