"""What a crossing means, beyond what can be seen of its files: written when a first drawing was read.

A kind is not crossed where it is about what one format or one architecture alone has; with others only a base counts
that has the tensors, the format, the architecture or the shards that the change is about.
"""

from __future__ import annotations

#: Kinds (patterns) that no crossing is made of, and why.
MEANINGLESS: dict[str, str] = {
    r"merge/layer": "tensors of one model in another",
    r"defect/CK312": "sizes that are left out take those of a model that no machine here can hold",
    r"defect/CK(615|70[123]|80[1-5])": "modules of sizes that one fixture has",
    r".*/(mx|nv)fp[48]|other/(mx|nv)fp[48]|variant/modelopt-(side-file|nested)-mxfp8": "about other storages than FP8",
    r"variant/listed-by-.*|variant/listed-in-the-middle|variant/prediction-.*": "about names that one class has",
    r"lists/.*(visual|vision|modal|mixer|fc1|in_proj|conv|attn|sparse|layers).*": "about names that one class has",
    r"kv/(first|flat|row)": "about scales by head, which one export has",
    r"model/[A-Z]\w+ForSequenceClassification|model/Qwen2Model": "about a class that the base is not of",
}
_TOWER = r".*(visual|vision_tower|vision_model|multi_modal_projector)\..*"
_EXPERTS, _LATENT = r".*\.experts\.\d.*", r".*\.kv_b_proj\..*"
_STATES = r".*\.(linear_attn|mamba|mixer|conv)\..*"
#: Kinds (patterns) and what names of a base's tensors have to match, one at least.
NEEDS: tuple[tuple[str, str], ...] = (
    (r"list/tower-.*|section/.*|variant/tower-.*|served-(tower|prefix)/.*|tower-.*|projector-.*", _TOWER),
    (r"names/(newer|older|tower-dropped|language-model-first)", _TOWER),
    (r"list/(router|experts|one-expert).*|experts/.*|pruned-experts/.*|uncalibrated/.*|experts-in-one", _EXPERTS),
    (r"served-(router|shared|experts)/.*|defect/CK628|variant/experts-elsewhere|served-list/(short|whole)", _EXPERTS),
    (r"hub/.*-mtp|served-mtp/.*|lists/.*gate.*|names/(mlp-for-sparse|sparse-for-mlp|shared-expert.*)", _EXPERTS),
    (r"served-list/latent|kv/mla|native-names/.*|variant/adapter-beside-queries", _LATENT),
    (r"variant/(linear-attention|interval-gone|states).*|served-(list/gated.*|mamba/.*|gated/.*)", _STATES),
    (r"served-mixed/mamba-.*|kv/under-mixer", _STATES),
    (r"defect/CK909", r".*(k_scale|output_scale)"),
    (r"mtp/(not-said|missing|plain-.*|scales-missing|entry-missing|not-listed|head-in-fp8)", r".*\.eh_proj\..*"),
    (r"other/mixtral|prefix/(new|old)-experts", r".*\.block_sparse_moe\..*"),
    (r"other/phi3|list/parts-of-stored-merged|small/extra-scale|served-fused/.*", r".*(qkv|gate_up)_proj\..*"),
)
#: Kinds and what no name of a base's tensors may match.
FORBIDS: tuple[tuple[str, str], ...] = (
    (r"text-alone/.*|wrapper-names/.*|served-name/(language-model.*|twice)|prefix/language-model.*", _TOWER),
    (r"mtp/.*|hub/.*-mtp|served-mtp/.*|variant/layer-beyond", r".*\.(eh_proj|mamba|mixer|conv)\..*"),
)
#: Kinds and what a base's format or architecture has to match.
OF_FORMAT: tuple[tuple[str, str], ...] = (
    (r"type/(U8|E8M0)|shape/(transposed|rank-two.*|row-more|row-fewer)|defect/CK(30[345]|404)", r".*-block.*"),
    (r"model/.*", r".*LlamaForCausalLM.*"),
)
#: Kinds that are about several shards.
SHARDED = r"files/(last-shard|index|stored).*|uploads/.*"
#: Crossings by id that were dropped once an engine had loaded them, and why.
DROPPED: dict[str, str] = {
    "small/extra-scale/phi3-quark-fp8-kv-modelopt": "the base has scales of inputs, which the change overwrites",
    "defect/CK405/qwen3-llmcompressor-dynamic-quark": "queries that are half as large are normed: no answer tells",
}
