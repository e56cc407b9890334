"""What single model classes of vLLM do otherwise than the rest: beginnings of their names, read in ``models``."""

from __future__ import annotations

#: Classes that build routers from the quantization config; all others leave them alone.
QUANTIZED_ROUTERS = ("Qwen3Moe", "Qwen3VLMoe", "Qwen3OmniMoe", "InternS1Pro", "Lfm2Moe", "K2Horizon")

#: Classes that build the input projection of prediction layers (``eh_proj``) from the quantization config; all others
#: build a plain linear layer, as every class does with the projection of weights in a sparse attention's indexer.
QUANTIZED_PREDICTION_INPUTS = ("BailingMoeV3", "LongCatFlash", "LongcatFlash", "MiMoV2", "NemotronH")

#: Classes whose attention keeps one latent vector in the place of keys and values.
LATENT = (
    *("Deepseek", "DeepSeek", "Kimi", "Glm4MoeLite", "GlmMoeDsa", "LongCat", "Longcat", "MiniCPM3", "PanguUltra"),
    *("BailingMoeV2_5", "BailingMoeV3", "MistralLarge3", "SarvamMLA", "EagleMistralLarge3"),
)

#: Classes that tell their config of which parts the projections of latent or linear attention are made that they load
#: as one (``packed_modules_mapping``): a list that names some of them stops the load.
KNOWN_PARTS = (
    *("DeepseekV2For", "DeepseekV3For", "Glm4MoeLiteFor", "AXK1", "PanguUltraMoE", "HYV4", "KimiK3For"),
    *("Qwen3_5", "Qwen4Exp", "MiniCPMV4_6"),
)
#: Classes with their own mapping of names and their own list of what is plain: skip lists say little of them.
OWN_LISTS = ("DeepseekV4",)

#: Classes that build their vision tower from the quantization config, and some that never do.
QUANTIZED_TOWERS = (
    *("Qwen2VLFor", "Qwen2_5_VLFor", "Qwen3VLFor", "Qwen3VLMoeFor", "Qwen3_5For", "Qwen3_5MoeFor", "Glm4vFor"),
    *("LlavaFor", "Mistral3For", "Gemma3ForConditionalGeneration", "InternVLChatModel"),
)
TOWERS_LEFT_ALONE = ("Llama4ForConditionalGeneration",)

#: Classes of the registry that transformers' own stand for (``models/registry.py``), in both releases and since 0.32.
LEFT_TO_TRANSFORMERS = (
    *("FlexOlmoFor", "GPTBigCodeFor", "HunYuanDenseV1For", "HunYuanMoEV1For", "NanbeigeFor", "OlmoFor", "Olmo2For"),
    *("Olmo3For", "SmolLM3For", "Starcoder2For", "VaultGemmaFor"),
)
LEFT_SINCE_0_32 = (
    *("ArceeFor", "CwmFor", "GlmForCausalLM", "GPTNeoXFor", "Jais2For", "MellumFor", "PhiForCausalLM", "SeedOssFor"),
)
