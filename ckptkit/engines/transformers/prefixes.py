"""Below which names transformers' classes look for the layers of their language model.

Each class was built with its own default config, and asked by ``core_model_loading.rename_source_key`` with the mapping
of its model (``conversion_mapping.py``) and its base model's prefix, in 5.17.0; the mappings of 5.16.1 are the same. A
class that is not listed could not be built so, or has no ``layers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Prefixes that were asked about, ``-`` for none.
_ASKED = """
model model.language_model language_model.model language_model - model.text_model model.language_model.model
model.language_model.language_model backbone llm llm.model model.llm transformer model.model base_model.model.model
thinker.model text_model decoder model.decoder model.model.language_model language_model.language_model
"""
#: Prefixes that lead to layers, and the classes that they do so in.
_LINES = """
model - model.model: AXK1ForCausalLM AXK2ForCausalLM AfmoeForCausalLM ApertusForCausalLM ArceeForCausalLM
  AriaTextForCausalLM BambaForCausalLM BitNetForCausalLM Cohere2ForCausalLM Cohere2MoeForCausalLM CohereForCausalLM
  CwmForCausalLM DeepseekV2ForCausalLM DeepseekV32ForCausalLM DeepseekV3ForCausalLM DeepseekV4ForCausalLM
  DiffLlamaForCausalLM DogeForCausalLM Dots1ForCausalLM Emu3ForCausalLM Ernie4_5ForCausalLM Ernie4_5_MoeForCausalLM
  Exaone4ForCausalLM ExaoneMoeForCausalLM FalconH1ForCausalLM FlexOlmoForCausalLM Gemma2ForCausalLM Gemma3ForCausalLM
  Gemma4ForCausalLM Gemma4UnifiedForCausalLM GemmaForCausalLM Glm4ForCausalLM Glm4MoeForCausalLM
  Glm4MoeLiteForCausalLM GlmForCausalLM GlmMoeDsaForCausalLM GptOssForCausalLM GraniteForCausalLM
  GraniteMoeForCausalLM GraniteMoeHybridForCausalLM GraniteMoeSWAForCausalLM GraniteMoeSharedForCausalLM
  GraniteSWAForCausalLM HYV3ForCausalLM HYV4ForCausalLM HeliumForCausalLM HunYuanDenseV1ForCausalLM
  HunYuanMoEV1ForCausalLM HyperCLOVAXForCausalLM InklingForCausalLM Jais2ForCausalLM JambaForCausalLM
  JetMoeForCausalLM KimiLinearForCausalLM LagunaForCausalLM Lfm2ForCausalLM LlamaForCausalLM LongcatFlashForCausalLM
  MellumForCausalLM MiMoV2FlashForCausalLM MiniCPM3ForCausalLM MiniMaxForCausalLM MiniMaxM2ForCausalLM
  MiniMaxM3VLForCausalLM Ministral3ForCausalLM Mistral4ForCausalLM MistralForCausalLM MixtralForCausalLM
  NanoChatForCausalLM NemotronForCausalLM Olmo2ForCausalLM Olmo3ForCausalLM OlmoForCausalLM OlmoHybridForCausalLM
  OlmoeForCausalLM Phi3ForCausalLM Phi4MultimodalForCausalLM PhiForCausalLM PhimoeForCausalLM Qwen2ForCausalLM
  Qwen2MoeForCausalLM Qwen3ForCausalLM Qwen3MoeForCausalLM Qwen3NextForCausalLM RecurrentGemmaForCausalLM
  SeedOssForCausalLM SmolLM3ForCausalLM SolarOpenForCausalLM StableLmForCausalLM Starcoder2ForCausalLM
  VaultGemmaForCausalLM YoutuForCausalLM Zamba2ForCausalLM ZayaForCausalLM
model.language_model language_model.model language_model model.language_model.model model.model.language_model:
  AriaForConditionalGeneration Gemma3ForConditionalGeneration GotOcr2ForConditionalGeneration
  InternVLForConditionalGeneration Kimi_K25ForConditionalGeneration LlavaForConditionalGeneration
  LlavaNextForConditionalGeneration LlavaNextVideoForConditionalGeneration LlavaOnevisionForConditionalGeneration
  Mistral3ForConditionalGeneration MllamaForConditionalGeneration PaliGemmaForConditionalGeneration
  VideoLlavaForConditionalGeneration VipLlavaForConditionalGeneration
model.language_model language_model model.model.language_model: Cohere2VisionForConditionalGeneration
  DeepseekVLForConditionalGeneration DeepseekVLHybridForConditionalGeneration Exaone4_5_ForConditionalGeneration
  Gemma4ForConditionalGeneration Gemma4UnifiedForConditionalGeneration Glm46VForConditionalGeneration
  Glm4vForConditionalGeneration Glm4vMoeForConditionalGeneration Glm5NextForConditionalGeneration
  GlmOcrForConditionalGeneration JanusForConditionalGeneration Lfm2VlForConditionalGeneration
  LightOnOcrForConditionalGeneration MiniCPMV4_6ForConditionalGeneration MuseGlimmerForConditionalGeneration
  Ovis2ForConditionalGeneration Qwen3VLForConditionalGeneration Qwen3VLMoeForConditionalGeneration
  Qwen3_5ForConditionalGeneration Qwen3_5MoeForConditionalGeneration VideoLlama3ForConditionalGeneration
model language_model.model: Llama4ForCausalLM MllamaForCausalLM
model - backbone model.model: NemotronHForCausalLM
model model.language_model - model.language_model.model model.model: Qwen3_5ForCausalLM Qwen3_5MoeForCausalLM
model.language_model language_model - model.model.language_model: Cosmos3EdgeForConditionalGeneration
  Cosmos3OmniForConditionalGeneration
model model.language_model language_model - model.model model.model.language_model:
  Ernie4_5_VLMoeForConditionalGeneration
model.language_model language_model model.llm model.model.language_model: InklingForConditionalGeneration
language_model.model model.language_model.model: Llama4ForConditionalGeneration
model.language_model language_model.model language_model model.model.language_model:
  MiniMaxM3SparseForConditionalGeneration QianfanOCRForConditionalGeneration
model model.language_model language_model: PaddleOCRVLForConditionalGeneration Qwen2VLForConditionalGeneration
  Qwen2_5_VLForConditionalGeneration
model thinker.model: Qwen2_5OmniThinkerForConditionalGeneration Qwen3OmniMoeThinkerForConditionalGeneration
model model.language_model language_model model.model.language_model: Step3p7ForConditionalGeneration
"""


def _read() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    asked = _words(_ASKED)
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for line in _LINES.replace("\n  ", " ").strip().splitlines():
        prefixes, _, classes = line.partition(": ")
        below = _words(prefixes)
        elsewhere = tuple(prefix for prefix in asked if prefix not in below)
        found |= dict.fromkeys(classes.split(), (below, elsewhere))
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple("" if word == "-" else word for word in text.split())


#: Class -> prefixes under which it looks for layers, and those under which it does not.
PREFIXES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(_read())
