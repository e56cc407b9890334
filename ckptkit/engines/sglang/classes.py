"""What single model classes of SGLang do otherwise than the rest: beginnings of their names, read in ``srt/models``."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.name_maps import NameMap

#: The classes that load as Llama does: names of scales are brought to one spelling, unknown names are skipped, and a
#: head is not loaded where the config ties it to the embedding.
LLAMAS = ("LlamaForCausalLM", "MistralForCausalLM", "Ministral3For", "Mistral3For", "Phi3ForCausalLM", "InternLM3For")

#: Classes that skip a name which no parameter has, with a warning, wherever they do not fuse.
SKIP_WITH_A_WARNING = (*LLAMAS, "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen2MoeFor", "Qwen3MoeFor", "MixtralFor")

# What a class does at a name that no parameter has was asked of the ``load_weights`` of each class of 0.5.23, by such
# names (tests/interop/drivers/sglang_names.py); most classes skip them all.

#: Classes that stop with a KeyError at an unknown name below a projection that they fuse; other names they skip.
STRICT = (
    *("Mixtral", "Qwen3ForCausalLM", "Qwen3Model", "Qwen2_5_VLFor", "SDARForCausalLM", "OPTFor", "Phi4MMFor"),
    *("Starcoder2For", "GraniteMoeForCausalLM", "GraniteMoeSharedFor", "GraniteMoeSWAFor", "MiMoV2ForCausalLM"),
    "MiMoV2FlashFor",
)

#: Classes that stop so at any name that no parameter has.
STOP_AT_UNKNOWN = (
    *("BeamFor", "InternS2MobiusFor", "MiniCPMForCausalLM", "MiniCPM3For", "MiniCPMSALAFor"),
    *("BaichuanFor", "BertModel", "CLIPModel", "ChatGLM", "CohereFor", "Cohere2ForCausalLM", "Contriever", "DbrxFor"),
    *("DeepseekForCausalLM", "DeepseekOCRFor", "DeepseekVL2For", "EmbeddingGemmaModel", "Ernie4_5_ForCausalLM"),
    *("Ernie4_5_MoeFor", "ExaoneForCausalLM", "FalconH1For", "GPT2LMHead", "GPTBigCodeFor", "GPTJFor", "Gemma2For"),
    *(
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "Gemma3nForConditionalGeneration",
        "GemmaFor",
        "GlmAsrFor",
        "GraniteForCausalLM",
        "GraniteSWAFor",
    ),
    *("GraniteMoeHybridFor", "HunYuanDenseV1For", "HunYuanMoEV1For", "IQuestQ1", "InternLM2For"),
    *("InternS1ForConditionalGeneration", "JetNemotronFor", "JetVLMFor", "KimiLinearFor"),
    *("KimiVLFor", "Llama4ForConditionalGeneration", "LlamaEmbeddingModel", "MiMoForCausalLM", "MiMoV2ASRFor"),
    *("MiniCPMO", "MistralModel", "MllamaFor", "MultiModalityCausalLM", "NVILA", "NemotronH_Omni", "Olmo2For"),
    *("OlmoFor", "OlmoeFor", "POINTSV15", "PaddleOCRVLFor", "Phi3SmallFor", "PhiMoEFor", "Qwen2AudioFor"),
    *(
        "Qwen2VLFor",
        "Qwen3NextForCausalLM",
        "StableLmFor",
        "Step3VLFor",
        "UnlimitedOCRFor",
        "XverseFor",
        "XverseMoeFor",
    ),
)

#: Classes, most of them with latent attention, that stop so below gate_up_proj alone; other names they skip.
DEEPSEEKS = (
    *("DeepseekV2For", "DeepseekV3For", "DeepseekV32For", "DeepseekV4For", "GigaChat35For", "GlmMoeDsaFor", "HYV4For"),
    *("KimiK3LinearFor", "LongcatFlash"),
)

#: Classes that take the scheme of a shared expert's gate and up for that of its down projection.
SHARED_AT_ONCE = ("DeepseekV2For", "DeepseekV3For", "DeepseekV32For", "GlmMoeDsa", "Glm4MoeFor", "Glm4vMoeFor")

#: Classes that stop so below experts, beside those that stop at any name.
STOP_BELOW_EXPERTS = (
    *("Qwen2MoeFor", "Qwen3VLMoeFor", "Qwen3_5MoeForConditionalGeneration", "Qwen4ExpFor", "InternS1ProFor"),
    *("InternS2PreviewFor", "Mixtral", "GraniteMoeForCausalLM", "GraniteMoeSharedFor", "GraniteMoeSWAFor"),
    *("LongcatFlash", "MiMoV2ForCausalLM", "MiMoV2FlashFor"),
)

#: Classes that stop somewhere, wherever that is.
STOP_SOMEWHERE = (*STRICT, *STOP_AT_UNKNOWN, *DEEPSEEKS)

#: Of these those that know scales of keys and values below attention, and below the projections.
_KNOW_KV = (
    *("CohereFor", "Cohere2ForCausalLM", "DbrxFor", "GPTJFor", "Gemma2For", "Gemma3ForCausalLM"),
    *("Gemma3ForConditionalGeneration", "Gemma3nForConditionalGeneration", "HunYuanDenseV1For", "HunYuanMoEV1For"),
    *("InternS2MobiusFor", "KimiLinearFor", "Llama4ForConditionalGeneration", "PhiMoEFor"),
)
_KNOW_KV_OF_PROJECTIONS = (
    *("DbrxFor", "Gemma3ForCausalLM", "InternS2MobiusFor", "Llama4ForConditionalGeneration", "Qwen3ForCausalLM"),
    *("Qwen3Model", "Qwen3NextForCausalLM", "SDARForCausalLM"),
)
#: Classes that stop at such scales, by where these are stored.
STOP_AT_KV = tuple(name for name in STOP_AT_UNKNOWN if name not in _KNOW_KV)
STOP_AT_KV_OF_PROJECTIONS = tuple(name for name in (*STRICT, *STOP_AT_UNKNOWN) if name not in _KNOW_KV_OF_PROJECTIONS)

#: Classes with single experts stored one by one, that skip a tensor which holds all experts of a layer.
EXPERTS_ONE_BY_ONE = ("Qwen3MoeFor", "Qwen2MoeFor", "MixtralFor", "OlmoeFor", "DeepseekV2For", "DeepseekV3For")

#: Of these one that stops with a KeyError at experts in another part of a layer.
STOP_AT_EXPERTS = ("OlmoeFor",)

#: Classes that declare which stored parts qkv_proj, and gate_up_proj, are fused of (``packed_modules_mapping``).
KNOWS_QKV = (
    *("BeamFor", "Cohere2MoeFor", "Cohere2VisionFor", "DeciLMFor", "DiffusionGemma", "EmbeddingGemmaModel"),
    *("Ernie4_5_ForCausalLM", "Ernie4_5_MoeForCausalLM", "Exaone4For", "Gemma2ForCausalLM", "Gemma3For"),
    *("Gemma3nForConditionalGeneration", "Gemma4", "GemmaForCausalLM", "Glm5NextFor", "GraniteMoeHybridFor"),
    *("HunYuanDenseV1For", "HunYuanMoEV1For", "InternS2", "K2HorizonFor", "KimiK3ForConditionalGeneration"),
    *("LagunaFor", "Llama4For", "MellumFor", "MiniCPMV4_", "MiniMaxM2For", "MiniMaxM3Sparse", "MuseGlimmerFor"),
    *("MuseSparkFor", "NemotronH", "PaddleOCRVLFor", "Phi4MMFor", "PhiForCausalLM", "Qwen3MoeFor", "Qwen3NextFor"),
    *("Qwen3_5", "Qwen4Exp", "SolarFor", "XllmFor"),
)
#: Classes with latent attention alone, whose q_proj is merged with nothing.
NO_QKV = (
    *("DeepseekV2For", "DeepseekV3For", "DeepseekV32For", "DeepseekV4For", "Glm4MoeLite", "GlmMoeDsa", "LongcatFlash"),
    *("MiniCPM3", "MistralLarge3", "SarvamMLA"),
)
_GATE_UP_ONLY = ("BaichuanFor", "BailingMoeForCausalLMNextN", "BailingMoeV2_5For", "HYV4For", "Qwen2_5_VLFor")
KNOWS_GATE_UP = (
    *(name for name in KNOWS_QKV if name not in ("GraniteMoeHybridFor", "NemotronH", "PhiForCausalLM")),
    *_GATE_UP_ONLY,
)

#: Classes with linear or latent attention, whose projections are merged too.
OTHER_ATTENTION = (
    *("Qwen3Next", "Qwen3_5", "Qwen4Exp", "Deepseek", "Kimi", "Glm4MoeLite", "GlmMoeDsa", "Longcat", "MiniCPM3"),
    *("BailingMoeV2_5", "BailingMoeV3", "MistralLarge3", "SarvamMLA"),
)

#: Classes that build linear layers without a name, so that lists and targets by name mean none of them.
NAMELESS = ("PhiForCausalLM", "PersimmonFor")

#: Classes that build the output head without one (``ParallelLMHead`` without a prefix).
NAMELESS_HEADS = ("BailingMoeV2_5", "BailingMoeV3", "GPTJFor", "HunYuan", "PersimmonFor", "PhiForCausalLM", "SolarFor")

#: Classes around a Pixtral tower, which take everything else from the language model's section; their loaders stop at
#: names that no parameter of the tower or the projector has (``llava.py``, ``pixtral.py``).
PIXTRALS = ("Mistral3For", "LlavaForConditionalGeneration")

#: Beginnings of classes -> beginnings of stored names -> what the class calls these parts, whatever is stored. Layers
#: of ``llama.py`` and ``ministral3.py`` are called ``model.layers``, whatever class is around them; those of
#: ``qwen3_vl.py`` have another name than entries of lists are mapped to.
_AROUND_LLAMA = MappingProxyType(
    {
        "model.vision_tower.": "vision_tower.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.language_model.": "model.",
        "language_model.model.": "model.",
    }
)
BEGINS = MappingProxyType(
    {
        **dict.fromkeys(PIXTRALS, _AROUND_LLAMA),
        **dict.fromkeys(
            ("Qwen3VLFor", "Qwen3VLMoeFor"), MappingProxyType({"language_model.model.": "model.language_model."})
        ),
        **dict.fromkeys(("Qwen2VLFor", "Qwen2_5_VLFor"), MappingProxyType({"language_model.model.": "model."})),
        "Glm4vMoeFor": MappingProxyType({"model.language_model.": "language_model.", "model.visual.": "visual."}),
        **dict.fromkeys(
            ("Glm4vFor", "GlmOcrFor"),
            MappingProxyType({"model.language_model.": "model.", "model.visual.": "visual."}),
        ),
        # The language model is built without a name.
        **dict.fromkeys(
            ("InternVLChat", "InternS1ForCond", "LightOnOCRFor", "VoxtralFor", "MultiModalityFor", "DotsVLMFor"),
            MappingProxyType({"language_model.model.": "model.", "model.language_model.": "model."}),
        ),
    }
)

#: Beginnings of classes -> how entries of lists and targets are mapped (``hf_to_sglang_mapper`` of ``qwen3_vl.py``,
#: ``qwen2_vl.py``).
MAPS = MappingProxyType(
    dict.fromkeys(
        ("Qwen3VLFor", "Qwen3VLMoeFor", "Qwen2VLFor", "Qwen2_5_VLFor"),
        NameMap(
            {"attn.qkv": "attn.qkv_proj"},
            {
                "model.language_model.": "language_model.model.",
                "model.visual.": "visual.",
                "model.": "language_model.model.",
            },
        ),
    )
)

#: Classes that build the output head without the quantization config.
PLAIN_HEADS = (
    *("ChatGLM", "DbrxFor", "DeepseekV4ForCausalLMDSpark", "ExaoneForCausalLM", "FalconMamba", "GptOssFor", "Grok1"),
    *("InternLM2For", "Mamba2For", "MiniCPMSALA", "MiniCPM3For", "MiniMaxM2For", "MixtralFor", "QuantMixtral"),
    *("MuseSpark", "OPTFor", "QWenLMHead", "StableLmFor", "TorchNativeLlama", "XverseForCausalLM", "ZayaFor"),
)

#: Beginnings of classes -> what stands in names of modules for which they pass no quantization config on.
PLAIN = MappingProxyType(
    {
        **dict.fromkeys(PLAIN_HEADS, ("lm_head",)),
        **dict.fromkeys(PIXTRALS, ("multi_modal_projector.",)),
        "StableLmFor": (".self_attn.", "lm_head"),
        "FalconH1For": (".mamba.",),
        "OlmoForCausalLM": (".self_attn.",),
        "HunYuanMoEV1For": (".mlp.gate.",),
    }
)

#: Beginnings of classes -> patterns of what stands in stored names -> what the class passes on in its place as the name
#: of what it builds there. Some pass no name on to their layers.
_STACKS = {r"\.block_sparse_moe\.(in|out)put_linear$": ".block_sparse_moe.experts"}
INNER = MappingProxyType(
    {
        **dict.fromkeys(("GraniteMoeFor", "GraniteMoeSharedFor", "GraniteMoeSWAFor"), MappingProxyType(_STACKS)),
        "GraniteMoeHybridFor": MappingProxyType({r"\.mamba\.": ".mixer.", **_STACKS}),
        "FalconH1For": MappingProxyType({r"\.feed_forward\.": ".mlp."}),
        "KimiLinearFor": MappingProxyType({r"\.block_sparse_moe\.": ".mlp."}),
        **dict.fromkeys(("Step3VLFor", "Step3p5For", "Step3p7For"), MappingProxyType({r"\.moe\.": ".mlp."})),
        "Grok1": MappingProxyType({r"^model\.layers\.\d+\.self_attn": "attn"}),
        "OPTFor": MappingProxyType({r"\.out_proj$": ".o_proj"}),
        "Phi3SmallFor": MappingProxyType(
            {r"\.query_key_value$": ".qkv_proj", r"\.self_attn\.dense$": ".self_attn.o_proj"}
        ),
        **dict.fromkeys(PIXTRALS, MappingProxyType({r"\.attention\.o_proj$": ".attention.proj"})),
        "Gemma2For": MappingProxyType({r"^model\.layers\.\d+\.": ""}),
        **dict.fromkeys(
            ("HunYuanDenseV1For", "HunYuanMoEV1For"),
            MappingProxyType({r"^model\.layers\.\d+(\.mlp\.shared_mlp)?(?=\.)": ""}),
        ),
    }
)

#: Beginnings of classes -> what stands in names of modules that are built without a name, so that lists and targets by
#: name mean none of them.
NAMELESS_PARTS = MappingProxyType(
    {"FalconH1For": (".self_attn.",), "HunYuanMoEV1For": (".mlp.experts.",), "Grok1": (".block_sparse_moe.",)}
)

#: Classes that put ``model.`` in front of names of layers, the embedding and the norm that lack it.
KNOWS_BARE = ("Qwen3ForCausalLM", "SDAR", "TransformersForCausalLM")

#: Classes that load no scales of keys and values, whatever their names: what is wrong with these does nothing.
NO_KV_SCALES = ("Qwen2_5_VLFor",)

#: Classes with a head of their own, whatever the config says of a tie.
NEVER_TIES = (
    *("Qwen3MoeForCausalLM", "Qwen2MoeFor", "OlmoeFor", "Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM", "MixtralFor"),
    *("QuantMixtral", "MiniMaxM2For", "GptOssFor", "KimiLinearFor", "LongcatFlashFor", "StableLmFor", "Qwen3NextFor"),
    *("PhiForCausalLM", "PersimmonFor", "InternLM2For", "XverseFor", "XverseMoeFor", "DbrxFor", "DeepseekForCausalLM"),
    *("QWenLMHead", "ChatGLM"),
)

#: Classes that build their vision tower from the quantization config, and some that build it plain whatever that says.
QUANTIZED_TOWERS = ("Qwen2VLFor", "Qwen2_5_VLFor")
PLAIN_TOWERS = ("Qwen3VLFor", "Qwen3VLMoeFor", "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditional")
#: Classes whose tower has layers that are merged, or split by inputs, alone: these are filled by a cast.
MERGED_TOWERS = ("Mistral3For", "Glm4vMoeFor", "Glm4vForCond")

#: What serves classes that only transformers has, and those of them that are plain decoders, as they were run: others
#: may have no attention that it can take over, or plans of parallel layers that it does not know. Its loader stops at
#: names that no parameter has, and entries of lists are mapped as stored names are: ``lm_head`` becomes
#: ``model.lm_head``, and so do the targets of a config.
STAND_IN = "TransformersForCausalLM"
STOOD_IN_FOR = frozenset(
    {
        *("CwmForCausalLM", "Ernie4_5ForCausalLM", "GemmaModel", "GraniteModel", "HeliumForCausalLM", "LlamaModel"),
        *("Qwen2Model", "SeedOssForCausalLM", "SmolLM3ForCausalLM"),
    }
)
BELOW = (
    "model.",
    "language_model.model.",
    "transformer.",
    "gpt_neox.",
    "embed_out.",
    "lm_head.",
    "score.",
    "classifier.",
)
