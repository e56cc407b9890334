"""What the model classes of llama.cpp's converter have no name in a GGUF for, of the modules that most decoders have.

A line is what is lacking, a colon, and the classes that lack it. It was taken on 2026-11-29 from the map of each class
in ``gguf-py/gguf/tensor_mapping.py`` at 0c1e57098bba (b11312), each in a process of its own, since classes change the
map for those that come after them; and held against conversions of models of Llama, Qwen2, Qwen3 and Phi3 under each
name. Classes that give tensors other names before they look are not among them. b8643 knows the same names, but that of
merged projections for few classes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LINES = """
nothing: AfmoeForCausalLM Dots1ForCausalLM ExaoneMoEForCausalLM ExaoneMoeForCausalLM Gemma4ForCausalLM
  Gemma4ForConditionalGeneration Gemma4UnifiedForConditionalGeneration Glm4MoeForCausalLM
  Glm4vMoeForConditionalGeneration SolarOpenForCausalLM Step3p5ForCausalLM Step3p7ForConditionalGeneration
gate: ApertusForCausalLM ChameleonForCausalLM ChameleonForConditionalGeneration Gemma3ForCausalLM
  Gemma3ForConditionalGeneration Gemma3TextModel HunYuanDenseV1ForCausalLM HunYuanVLForConditionalGeneration
  LlavaStableLMEpochForCausalLM MaincoderForCausalLM MiniCPMV4_6ForConditionalGeneration
  MuseGlimmerForConditionalGeneration Qwen3ASRForConditionalGeneration Qwen3ForCausalLM Qwen3Model
  Qwen3VLForConditionalGeneration Qwen3_5ForCausalLM Qwen3_5ForConditionalGeneration StableLMEpochForCausalLM
  StableLmForCausalLM StepVLForConditionalGeneration
qkv_proj: DFlash2DraftModel DFlashDraftModel DSparkDraftModel DSparkSpeculator DeepseekV4DSparkModel Gemma4DSparkModel
  HYV3ForCausalLM LagunaForCausalLM Lfm2DSparkDraftModel LingDSparkModel MiniMaxM3SparseForCausalLM
  MiniMaxM3SparseForConditionalGeneration MuseGlimmerAssistantModel Qwen3DSparkModel
input_layernorm gate: Exaone4ForCausalLM Exaone4_5_ForConditionalGeneration Olmo2ForCausalLM Olmo3ForCausalLM
gate norm: LFM2ForCausalLM Lfm25AudioTokenizer Lfm2BidirectionalModel Lfm2ForCausalLM Lfm2Model
norm lm_head: Lfm2MoeForCausalLM
q_norm k_norm: ArcticForCausalLM BambaForCausalLM DeciLMForCausalLM DeepseekForCausalLM Eagle3DraftModel
  Eagle3LlamaForCausalLM Eagle3Speculator Ernie4_5_MoeForCausalLM GraniteMoeHybridForCausalLM Grok1ForCausalLM
  GrokForCausalLM IQuestCoderForCausalLM InternLM3ForCausalLM JambaForCausalLM JanusForConditionalGeneration
  KimiLinearForCausalLM KimiLinearModel LLaMAForCausalLM LlamaBidirectionalModel LlamaForCausalLM
  LlamaForCausalLMEagle3 LlavaForConditionalGeneration MiMoV2FlashForCausalLM MiMoV2ForCausalLM MiniCPMForCausalLM
  Ministral3ForCausalLM Mistral3ForConditionalGeneration MistralForCausalLM MixtralForCausalLM
  Sarashina2VisionForCausalLM SmallThinkerForCausalLM UltravoxModel VLlama3ForCausalLM VoxtralForConditionalGeneration
qkv_proj gate: Qwen3TTSForConditionalGeneration
v_proj gate: PLaMo2ForCausalLM Plamo2ForCausalLM
post_attention_layernorm gate lm_head: CohereForCausalLM
q_norm k_norm gate: AudioFlamingo3ForConditionalGeneration BaiChuanForCausalLM BaichuanForCausalLM DotsOCRForCausalLM
  DreamModel Ernie4_5ForCausalLM Ernie4_5_ForCausalLM ExaoneForCausalLM GPTRefactForCausalLM Gemma2ForCausalLM
  GemmaForCausalLM GraniteForCausalLM GraniteSwitchForCausalLM InternLM2ForCausalLM KORMoForCausalLM LLaDAModelLM
  OrionForCausalLM PaddleOCRVLForConditionalGeneration PanguEmbeddedForCausalLM Qwen2AudioForConditionalGeneration
  Qwen2ForCausalLM Qwen2VLForConditionalGeneration Qwen2VLModel Qwen2_5OmniModel Qwen2_5_VLForConditionalGeneration
  SeedOssForCausalLM SmolLM3ForCausalLM XverseForCausalLM
q_norm k_norm gate_proj: NemotronHPuzzleForCausalLM
q_proj k_proj v_proj: BailingMoeV2ForCausalLM SarvamMoEForCausalLM modeling_sarvam_moe.SarvamMoEForCausalLM
qkv_proj q_norm k_norm: BailingMoeV3ForCausalLM BailingMoeV3VLForConditionalGeneration DeepseekOCRForCausalLM
  DeepseekV2ForCausalLM DeepseekV3ForCausalLM Glm4MoeLiteForCausalLM Glm5NextForConditionalGeneration
  GraniteMoeSWAForCausalLM GraniteSWAForCausalLM KimiK25ForConditionalGeneration KimiK3ForConditionalGeneration
  KimiVLForConditionalGeneration UnlimitedOCRForCausalLM YoutuForCausalLM YoutuVLForConditionalGeneration
input_layernorm gate norm lm_head: JinaBertForMaskedLM JinaBertModel
gate_proj up_proj down_proj gate_up_proj: GroveMoeForCausalLM HunYuanMoEV1ForCausalLM LLaDAMoEModel LLaDAMoEModelLM
  MiniMaxM2ForCausalLM OlmoeForCausalLM Qwen3MoeForCausalLM Qwen3NextForCausalLM Qwen3OmniMoeForConditionalGeneration
  Qwen3VLMoeForConditionalGeneration Qwen3_5MoeForCausalLM Qwen3_5MoeForConditionalGeneration RND1
  modeling_grove_moe.GroveMoeForCausalLM
post_attention_layernorm q_norm k_norm gate: FalconH1ForCausalLM PlamoForCausalLM
post_attention_layernorm qkv_proj q_norm k_norm: Cohere2MoeForCausalLM
q_norm k_norm gate lm_head: EuroBertModel JinaEmbeddingsV5Model
q_norm k_norm gate_proj gate: ArceeForCausalLM ChatGLMForConditionalGeneration ChatGLMModel Glm4ForCausalLM
  Glm4vForConditionalGeneration GlmForCausalLM GlmOcrForConditionalGeneration Jais2ForCausalLM NemotronForCausalLM
  Phi3ForCausalLM Phi4ForCausalLMV PhiForCausalLM Starcoder2ForCausalLM
qkv_proj q_norm k_norm gate: NanbeigeForCausalLM RWKV6Qwen2ForCausalLM
post_attention_layernorm q_norm k_norm gate lm_head: Cohere2ForCausalLM
post_attention_layernorm q_norm k_norm gate_proj gate: NemotronHForCausalLM
k_proj v_proj qkv_proj q_norm k_norm: DeepseekV32ForCausalLM GlmMoeDsaForCausalLM
q_proj k_proj v_proj gate lm_head: OpenELMForCausalLM
q_proj k_proj v_proj gate_proj gate: MPTForCausalLM PLaMo3ForCausalLM Plamo3ForCausalLM
q_proj k_proj v_proj qkv_proj q_norm: Dots3NoteForCausalLM Dots3NoteForConditionalGeneration Dots3NoteTextForCausalLM
qkv_proj gate_proj up_proj down_proj gate_up_proj: MapleForCausalLM MellumForCausalLM
qkv_proj q_norm k_norm gate lm_head: BitNetForCausalLM BitnetForCausalLM
input_layernorm post_attention_layernorm q_norm k_norm gate norm: OLMoForCausalLM OlmoForCausalLM
input_layernorm post_attention_layernorm qkv_proj k_norm gate norm: TalkieForCausalLM
k_proj v_proj qkv_proj k_norm gate lm_head: Gemma4AssistantForCausalLM Gemma4UnifiedAssistantForCausalLM
q_norm k_norm gate_proj up_proj down_proj gate_up_proj: BailingMoeForCausalLM GptOssForCausalLM GraniteMoeForCausalLM
  GraniteMoeSharedForCausalLM MiniMaxM1ForCausalLM MiniMaxText01ForCausalLM PhiMoEForCausalLM Qwen2MoeForCausalLM
q_proj k_proj v_proj q_norm k_norm gate: CogVLMForCausalLM JAISLMHeadModel QWenLMHeadModel Spark2_5ForCausalLM
q_proj k_proj v_proj qkv_proj q_norm k_norm: HYV4ForCausalLM
qkv_proj q_norm k_norm gate_proj gate lm_head: PocketTTSModel
input_layernorm post_attention_layernorm gate_proj up_proj down_proj gate_up_proj norm: Qwen4ExpForCausalLM
  Qwen4ExpForConditionalGeneration
input_layernorm post_attention_layernorm q_norm k_norm gate_proj gate lm_head: BertForMaskedLM
  BertForSequenceClassification BertModel CamembertModel DistilBertForMaskedLM DistilBertForSequenceClassification
  DistilBertModel NomicBertModel RobertaForSequenceClassification RobertaModel XLMRobertaForSequenceClassification
  XLMRobertaModel
input_layernorm post_attention_layernorm qkv_proj q_norm k_norm gate norm: HrmTextForCausalLM
k_proj v_proj qkv_proj q_norm k_norm gate_proj gate: PLMForCausalLM
q_proj k_proj v_proj q_norm k_norm gate_proj gate: BloomForCausalLM BloomModel CodeShellForCausalLM FalconForCausalLM
  GPT2LMHeadModel GPTBigCodeForCausalLM GPTNeoXForCausalLM RWForCausalLM RuGPT3XLForCausalLM
q_proj k_proj v_proj qkv_proj q_norm k_norm gate: MiniCPM3ForCausalLM
q_proj k_proj v_proj q_norm k_norm gate_proj gate lm_head: ModernBertForMaskedLM ModernBertForSequenceClassification
  ModernBertModel
qkv_proj q_norm k_norm gate_proj up_proj down_proj gate_up_proj gate: RWKV7ForCausalLM Rwkv6ForCausalLM
  Rwkv7ForCausalLM
q_proj k_proj v_proj q_norm k_norm gate_proj gate norm lm_head: NeoBERT NeoBERTForSequenceClassification NeoBERTLMHead
post_attention_layernorm q_proj k_proj v_proj q_norm k_norm gate_proj up_proj down_proj gate_up_proj: DbrxForCausalLM
q_proj k_proj v_proj qkv_proj o_proj q_norm k_norm gate_proj up_proj down_proj gate_up_proj: DeepseekV4ForCausalLM
post_attention_layernorm q_proj k_proj v_proj qkv_proj o_proj q_norm k_norm gate_proj up_proj down_proj gate_up_proj
  gate: FalconMambaForCausalLM Mamba2ForCausalLM MambaForCausalLM MambaLMHeadModel
"""
_MLP = ("gate", "gate_proj", "up_proj", "down_proj", "gate_up_proj")
_OUTSIDE = ("lm_head", "norm")


def _module(word: str) -> str:
    owner = "self_attn." if word.endswith(("_proj", "_norm")) else ""
    return f"mlp.{word}" if word in _MLP else f"model.{word}" if word == "norm" else owner + word


def _read() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in _LINES.replace("\n  ", " ").strip().splitlines():
        words, _, classes = line.partition(": ")
        lacking = frozenset(map(_module, words.split())) - {"nothing"}
        found |= dict.fromkeys(classes.split(), lacking)
    return found


#: Class -> modules of a layer without its number, and of those outside layers.
LACKING: Mapping[str, frozenset[str]] = MappingProxyType(_read())

#: What only b11312 has a name for, of what attention and MLPs hold in a layer: each name that its map gained since
#: f49e9178767d (b8643), whatever the class.
GAINED = frozenset(
    {
        *("self_attn.norm", "self_attn.learnable_sink_param", "self_attn.output_gate", "self_attn.linear_gate"),
        *("self_attn.k_rope_only_layernorm", "attention.q_proj", "attention.dt_proj", "attention.o_norm"),
        *("attention.q_conv1d", "attention.k_conv1d", "attention.v_conv1d", "attention.b_proj", "attention.q_a_proj"),
        *("attention.q_b_proj", "attention.kv_a_proj_with_mqa", "attention.kv_b_proj", "attention.k_b_proj"),
        *("attention.v_b_proj", "attention.q_a_layernorm", "attention.kv_a_layernorm", "block_sparse_moe.router"),
        *(f"block_sparse_moe.routed_expert_{part}" for part in ("down_proj", "up_proj", "norm")),
    }
)
