"""What engines make of kinds of checkpoints that a second held-out set showed, each beside a near miss."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import (
    HEAD,
    autofp8,
    channels,
    deepseek,
    each,
    mistral,
    modelopt,
    quark,
    static,
    with_prediction,
)
from tests.accuracy.again.rest import NVFP4, mixed
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.held.common import MODELOPT, VL, alone, copied, listed, no_side_file, stored_as
from tests.accuracy.reports import quantize
from tests.accuracy.variants import gone, layer_beyond, of_meta
from tests.accuracy.verdicts import at_release, rows
from tests.damage import (
    CT,
    CT_KV,
    TIED,
    Damage,
    MutableCheckpoint,
    drop,
    high_precision,
    load,
    put,
    rename,
    set_block,
    set_config,
    steps,
)

_SCALES = r".*\.weight_scale"
_SHARED = ("re:.*mlp.gate$", "re:.*shared_expert_gate$")


class Kind(NamedTuple):
    """A model or fixture, what is done to it, and what engines then make of it, by their names."""

    name: str
    base: str
    change: Damage
    verdicts: dict[str, str]


def _cut(checkpoint: MutableCheckpoint) -> None:
    """Numbers of F16 that no power of two is."""
    stored_as(_SCALES, "F16")(checkpoint)
    checkpoint.change(_SCALES, lambda t: t._replace(data=b"\x03\x00" * (len(t.data) // 2)))


def _one_value(names: str) -> Damage:
    """The first of the scales of a weight's rows, for all of them."""
    return lambda checkpoint: checkpoint.change(names, lambda t: t._replace(shape=(1,), data=t.data[:2]))


def _with_shared_expert(checkpoint: MutableCheckpoint) -> None:
    """A shared expert in a class that has none: the numbers of a projection of attention."""
    for name in checkpoint.names(r"model\.layers\.0\.self_attn\.o_proj\..*"):
        other = name.replace("self_attn.o_proj", "mlp.shared_expert.up_proj")
        next(iter(checkpoint.shards.values()))[other] = checkpoint.get(name)


def _same(checkpoint: MutableCheckpoint) -> None:
    """Nothing."""


VL_KV, _CACHE = "qwen2_5_vl/llmcompressor-fp8-kv", r".*\.[kv]_scale"
_ADAPTER = "model.layers.0.self_attn.q_proj.lora_A.weight"
_PREDICTS = "mtp.layers.0.input_layernorm.weight"
_Q_AND_V = r"model\.layers\.0\.self_attn\.[qv]_proj"
_PARTS = [f"model.layers.0.self_attn.{part}_proj" for part in "qv"]
_MTP = r"model\.layers\.2\.(self_attn|mlp).*_proj"
_BESIDE = ("model.vision_tower", "model.multi_modal_projector", "lm_head")
_TOWER_LISTED = ("re:.*lm_head", "re:vision_tower.*", "re:multi_modal_projector.*")
_NEWER = steps(
    rename(r"(vision_tower|multi_modal_projector)\.(.*)", r"model.\1.\2"),
    rename(r"language_model\.model\.(.*)", r"model.language_model.\1"),
    rename(r"language_model\.lm_head\.(.*)", r"lm_head.\1"),
)
_ROWS = ("row", "channel", "token", r".*self_attn\..*")
_TILES = ("block", "block", "group", r".*mlp\.\w+_proj")
_HEAD_TOO = copied(r"model\.embed_tokens\.weight", lambda name: "lm_head.weight")
_MAMBA = r".*mamba\.(in|out)_proj"
_OLMO = channels(HEAD)
_VISION = ("re:.*lm_head", "re:visual.*", "re:model.visual.*")
_DRAFTED = channels((*HEAD, *each("mlp.gate", layers=(1, 2)), "re:.*eh_proj", "re:.*shared_head.*"))
_KV_RENAMED = rename(r"(.*)\.([kv])_scale", r"\1.\2_proj.\2_scale")
_KV_OUTPUT = rename(r"(.*)\.([kv])_scale", r"\1.\2_proj.output_scale")

KINDS = (
    # Parts of a fused layer: the list decides how it is built.
    Kind("parts-not-listed", CT, alone(_Q_AND_V), {"vllm": "silently wrong", "sglang": "silently wrong"}),
    Kind("parts-listed", CT, steps(alone(_Q_AND_V), listed("ignore", *_PARTS)), {"vllm": "refuses"}),
    Kind(
        "parts-not-listed-modelopt",
        MODELOPT,
        steps(no_side_file, alone(_Q_AND_V)),
        {"vllm": "silently wrong", "sglang": "silently wrong"},
    ),
    Kind(
        "parts-listed-modelopt",
        MODELOPT,
        steps(no_side_file, alone(_Q_AND_V), listed("ignore", *_PARTS)),
        {"sglang": "refuses"},
    ),
    # F16 below its normal numbers.
    Kind("powers-in-F16", "drawn/glm4", steps(channels(HEAD), stored_as(_SCALES, "F16")), {"vllm": "loads"}),
    Kind(
        "cut-in-F16", "drawn/glm4", steps(channels(HEAD), _cut), {"vllm": "silently wrong", "sglang": "silently wrong"}
    ),
    # KV scales on projections.
    Kind("kv-on-projections", CT_KV, _KV_RENAMED, {"vllm": "loads", "sglang": "loads"}),
    Kind("kv-output-scales", CT_KV, _KV_OUTPUT, {"vllm": "refuses"}),
    Kind(
        "one-kv-scale",
        CT_KV,
        steps(drop(r".*\.v_scale"), rename(r"(.*)\.k_scale", r"\1.kv_scale")),
        {"vllm": "silently wrong"},
    ),
    Kind("one-other-scale", CT_KV, rename(r"(.*)\.k_scale", r"\1.cache_scale"), {"vllm": "refuses"}),
    Kind(
        "no-kv-scale",
        CT_KV,
        drop(r".*\.[kv]_scale"),
        {"sglang": "unknown"},
    ),
    Kind(
        "one-kv-scale-for-both",
        CT_KV,
        steps(drop(r".*\.v_scale"), rename(r"(.*)\.k_scale", r"\1.kv_scale")),
        {"sglang": "silently wrong"},
    ),
    # A head in FP8 that is dropped, and one in high precision that is another.
    Kind("tied-head-in-FP8", TIED, steps(_HEAD_TOO, quantize("lm_head")), {"sglang": "unknown"}),
    Kind("tied-head-stored", TIED, _HEAD_TOO, {"sglang": "loads"}),
    Kind(
        "tied-head-of-its-own",
        TIED,
        steps(_HEAD_TOO, lambda c: c.change(r"lm_head\.weight", lambda t: t._replace(data=t.data[::-1]))),
        {"sglang": "silently wrong"},
    ),
    Kind(
        "untied-head-in-FP8",
        TIED,
        steps(_HEAD_TOO, quantize("lm_head"), set_config(tie_word_embeddings=False)),
        {"sglang": "silently wrong"},
    ),
    # Packed codes where FP8 is declared.
    Kind("packed-as-FP8", NVFP4, steps(no_side_file, set_block(quant_algo="FP8")), {"sglang": "refuses"}),
    Kind(
        "integers-as-FP8",
        MODELOPT,
        lambda c: c.change(r".*layers\.0\.self_attn\.o_proj\.weight", lambda t: t._replace(dtype="I8")),
        {"sglang": "silently wrong"},
    ),
    # Towers that are plain whatever a list says.
    Kind("tower-not-listed", "drawn/qwen3_vl", channels(HEAD), {"vllm": "silently wrong", "sglang": "loads"}),
    Kind("tower-of-another-class-not-listed", VL, set_block(ignore=["lm_head"]), {"sglang": "refuses"}),
    # Gates of shared experts are linear layers to transformers alone.
    Kind(
        "shared-gate-not-listed",
        "drawn/qwen2_moe",
        channels((*HEAD, *_SHARED[:1])),
        {"vllm": "loads", "sglang": "loads", "transformers": "warns"},
    ),
    Kind("shared-gate-listed", "drawn/qwen2_moe", channels((*HEAD, *_SHARED)), {"transformers": "loads"}),
    Kind(
        "router-not-listed",
        "qwen3_moe/llmcompressor-dynamic",
        set_block(ignore=["lm_head"]),
        {"vllm": "silently wrong", "transformers": "loads"},
    ),
    # A head that is the embedding.
    Kind("tied-not-listed", "drawn/gemma3_text", modelopt(()), {"vllm": "silently wrong", "sglang": "loads"}),
    Kind("tied-listed", "drawn/gemma3_text", modelopt(HEAD), {"vllm": "loads"}),
    Kind("tied-not-listed-autofp8", "drawn/gemma3_text", autofp8(()), {"vllm": "loads"}),
    # Layers that predict hurt the draft alone.
    Kind(
        "draft-not-listed",
        "drawn/glm4_moe",
        steps(
            with_prediction,
            _DRAFTED,
            alone(_MTP),
        ),
        {"vllm": "loads", "sglang": "loads"},
    ),
    Kind(
        "draft-without-scale",
        "drawn/glm4_moe",
        steps(with_prediction, _DRAFTED, drop(r"model\.layers\.2\.self_attn\.o_proj\.weight_scale")),
        {"vllm": "loads", "sglang": "loads", "transformers": "loads"},
    ),
    Kind(
        "layer-without-scale",
        "drawn/glm4_moe",
        steps(with_prediction, _DRAFTED, drop(r"model\.layers\.1\.self_attn\.o_proj\.weight_scale")),
        {"vllm": "silently wrong", "sglang": "silently wrong", "transformers": "warns"},
    ),
    # One value for all rows of a weight, in all weights of a layer or in one.
    Kind("layer-of-one-value", CT, _one_value(r"model\.layers\.1\..*\.weight_scale"), {"transformers": "unknown"}),
    Kind("weight-of-one-value", CT, _one_value(r".*1\.mlp\.up_proj\.weight_scale"), {"transformers": "silently wrong"}),
    # A cache that is declared, and all of its scales or some.
    Kind("kv-without-scales", CT_KV, drop(r".*\.[kv]_scale"), {"vllm": "unknown"}),
    Kind("kv-without-some", CT_KV, drop(r".*\.1\..*\.[kv]_scale"), {"vllm": "silently wrong"}),
    Kind(
        "draft-listed-in-some-readings",
        "drawn/deepseek_v3",
        steps(
            with_prediction, deepseek(("lm_head", "model.layers.2")), alone(r"model\.layers\.2\.(self_attn|mlp).*_proj")
        ),
        {"vllm": "loads", "sglang": "loads"},
    ),
    Kind(
        "draft-without-scales",
        "drawn/glm4_moe",
        steps(with_prediction, deepseek((*HEAD, "re:.*gate$")), drop(r"model\.layers\.2\..*weight_scale_inv")),
        {"vllm": "loads", "sglang": "loads"},
    ),
    Kind(
        "layer-without-scales",
        "drawn/glm4_moe",
        steps(with_prediction, deepseek((*HEAD, "re:.*gate$")), drop(r"model\.layers\.1\.mlp.*weight_scale_inv")),
        {"vllm": "silently wrong", "sglang": "silently wrong"},
    ),
    Kind(
        "layer-not-listed",
        "drawn/glm4",
        steps(channels(HEAD), alone(r"model\.layers\.1\.mlp\.down_proj")),
        {"vllm": "silently wrong", "sglang": "silently wrong"},
    ),
    # Names that nobody knows.
    Kind(
        "no-prefix",
        "drawn/glm4",
        steps(_OLMO, rename(r"model\.(.*)", r"\1")),
        {"vllm": "refuses", "sglang": "silently wrong"},
    ),
    Kind("no-prefix-strict", "drawn/gemma2", steps(_OLMO, rename(r"model\.(.*)", r"\1")), {"sglang": "refuses"}),
    Kind("short-name", "drawn/olmo2", steps(_OLMO, rename(r"(.*)\.weight_scale", r"\1.scale")), {"sglang": "refuses"}),
    Kind(
        "short-name-of-a-class-that-skips",
        "drawn/glm4",
        steps(_OLMO, rename(r"(.*)\.weight_scale", r"\1.scale")),
        {"sglang": "silently wrong"},
    ),
    Kind(
        "older-input-name",
        "drawn/starcoder2",
        steps(autofp8(HEAD), rename(r"(.*)\.input_scale", r"\1.act_scale")),
        {"sglang": "refuses"},
    ),
    # Parts of a layer, experts and prefixes that a class has none of, beside those of another.
    Kind(
        "attention-for-self_attn",
        "drawn/glm4",
        steps(_OLMO, rename(r"(.*)\.self_attn\.(.*)", r"\1.attention.\2")),
        {"vllm": "refuses", "sglang": "silently wrong", "transformers": "refuses"},
    ),
    Kind(
        "shared_expert-for-shared_experts",
        "drawn/deepseek_v3",
        steps(channels(HEAD), rename(r"(.*)\.shared_experts\.(.*)", r"\1.shared_expert.\2")),
        {"vllm": "refuses", "sglang": "refuses", "transformers": "refuses"},
    ),
    Kind(
        "more-than-a-class-has",
        "qwen3_moe/llmcompressor-dynamic",
        _with_shared_expert,
        {"vllm": "refuses", "sglang": "loads", "transformers": "loads"},
    ),
    Kind("shared_expert-of-its-own", "drawn/qwen2_moe", channels((*HEAD, *_SHARED)), {"vllm": "loads"}),
    Kind(
        "mlp-for-block_sparse_moe",
        "drawn/minimax_m2",
        steps(channels((*HEAD, "re:.*gate$")), rename(r"(.*)\.block_sparse_moe\.(.*)", r"\1.mlp.\2")),
        {"vllm": "refuses", "sglang": "silently wrong", "transformers": "unknown"},
    ),
    Kind(
        "block_sparse_moe-for-mlp",
        "drawn/olmoe",
        steps(channels((*HEAD, "re:.*gate$")), rename(r"(.*)\.mlp\.(.*)", r"\1.block_sparse_moe.\2")),
        {"vllm": "refuses", "sglang": "refuses"},
    ),
    Kind(
        "language-model-first",
        "drawn/qwen3_vl",
        steps(channels(_VISION), rename(r"model\.language_model\.(.*)", r"language_model.model.\1")),
        {"vllm": "loads", "sglang": "silently wrong", "transformers": "refuses"},
    ),
    Kind(
        "no-language-model",
        "drawn/qwen3_vl",
        steps(channels(_VISION), rename(r"model\.language_model\.(.*)", r"model.\1")),
        {"vllm": "refuses", "sglang": "loads", "transformers": "refuses"},
    ),
    Kind("released-prefix", "drawn/qwen3_vl", channels(_VISION), {"vllm": "loads", "transformers": "loads"}),
    Kind(
        "bare-scales",
        "drawn/minimax_m2",
        steps(mistral(("lm_head", "gate")), rename(r"(.*)\.weight_scale_inv", r"\1.scale")),
        {"vllm": "refuses", "sglang": "warns"},
    ),
    # A pattern that tells the layers in place of their number.
    Kind(
        "layers-by-a-pattern",
        "drawn/nemotron_h",
        steps(modelopt(HEAD), rename(r"backbone\.(.*)", r"model.\1")),
        {"vllm": "loads"},
    ),
    Kind(
        "layers-not-told",
        "drawn/nemotron_h",
        steps(modelopt(HEAD), rename(r"backbone\.(.*)", r"model.\1"), set_config(hybrid_override_pattern=None)),
        {"vllm": "silently wrong"},
    ),
    # A head that transformers gives another name.
    Kind("head-listed-as-stored", "drawn/gpt_neox", channels(("embed_out",)), {"transformers": "silently wrong"}),
    Kind("head-listed-as-in-memory", "drawn/gpt_neox", channels(HEAD), {"vllm": "loads", "transformers": "loads"}),
    # Scales of experts under a name that transformers does not know, and those of a dense layer.
    Kind(
        "inverse-in-experts",
        "drawn/glm4_moe",
        steps(channels((*HEAD, "re:.*gate$")), rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")),
        {"transformers": "refuses"},
    ),
    Kind(
        "inverse-in-a-dense-model",
        "drawn/glm4",
        steps(_OLMO, rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")),
        {"transformers": "warns"},
    ),
    # What transformers has for experts and composite classes.
    Kind("experts-of-Quark", "drawn/qwen2_moe", quark((*HEAD, "*gate")), {"transformers": "refuses"}),
    Kind("experts-by-row", "drawn/minimax_m2", channels((*HEAD, "re:.*gate$")), {"transformers": "loads"}),
    Kind("experts-by-tensor", "drawn/minimax_m2", static((*HEAD, "re:.*gate$")), {"transformers": "loads"}),
    Kind("composite-fp8", "drawn/mistral3", mistral(_BESIDE), {"transformers": "loads", "sglang": "loads"}),
    Kind("composite-fp8-tower-not-listed", "drawn/mistral3", mistral(_BESIDE[1:]), {"sglang": "silently wrong"}),
    Kind("text-fp8", "drawn/glm4", mistral(HEAD), {"transformers": "refuses"}),
    # A class that passes on another prefix than the stored one.
    Kind(
        "mamba-listed-by-its-stored-name",
        "drawn/falcon_h1",
        channels((*HEAD, "re:.*mamba.*"), but=_MAMBA),
        {"vllm": "silently wrong"},
    ),
    Kind(
        "mamba-listed-by-both",
        "drawn/falcon_h1",
        channels((*HEAD, "re:.*mamba.*", "re:.*mixer.*"), but=_MAMBA),
        {"vllm": "loads"},
    ),
    # A tower that the config promises.
    Kind(
        "projector-alone",
        "drawn/mistral3",
        steps(
            channels(("re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*")), drop(r"vision_tower\..*")
        ),
        {"sglang": "silently wrong", "transformers": "warns"},
    ),
    Kind(
        "tower-and-projector",
        "drawn/mistral3",
        channels(("re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*")),
        {"sglang": "loads", "transformers": "loads"},
    ),
    # Layers that are filled with a cast, and those that are not.
    Kind("queries-split-alone", "drawn/deepseek_v3", steps(deepseek(), alone(r".*q_b_proj")), {"sglang": "refuses"}),
    Kind("one-of-two-merged", "drawn/deepseek_v3", steps(deepseek(), alone(r".*q_a_proj")), {"sglang": "refuses"}),
    Kind(
        "both-merged",
        "drawn/deepseek_v3",
        steps(deepseek(), alone(r".*(q_a_proj|kv_a_proj_with_mqa)")),
        {"sglang": "silently wrong"},
    ),
    Kind("inputs-split", "drawn/deepseek_v3", steps(deepseek(), alone(r".*o_proj")), {"sglang": "silently wrong"}),
    Kind("doubles-split-alone", "drawn/deepseek_v3", deepseek(dtype="F64"), {"sglang": "refuses"}),
    Kind("doubles-merged", "drawn/glm4", channels(HEAD, dtype="F64"), {"sglang": "loads"}),
    Kind("doubles-for-tensors", "drawn/phi", steps(autofp8(HEAD), stored_as(_SCALES, "F64")), {"sglang": "loads"}),
    Kind("tower-cast", "drawn/mistral3", channels(HEAD), {"sglang": "silently wrong"}),
    Kind(
        "latent-keys-listed",
        "drawn/deepseek_v3",
        deepseek((*HEAD, "model.layers.0.self_attn.kv_b_proj")),
        {"sglang": "silently wrong"},
    ),
    Kind(
        "mlp-listed",
        "drawn/deepseek_v3",
        deepseek((*HEAD, "model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj")),
        {"sglang": "refuses"},
    ),
    # A class that builds its layers without names, and one that builds some plain.
    Kind(
        "listed-without-a-name",
        "drawn/phi",
        channels((*HEAD, r"re:.*fc2$"), but=r".*fc2"),
        {"sglang": "silently wrong"},
    ),
    Kind(
        "listed-and-stored-in-FP8",
        "drawn/phi",
        channels((*HEAD, r"re:.*\.qkv_proj$", "model.layers.0.mlp.fc1")),
        {"sglang": "loads"},
    ),
    Kind(
        "listed-by-name", "drawn/starcoder2", channels((*HEAD, r"re:.*c_proj$"), but=r".*c_proj"), {"sglang": "loads"}
    ),
    Kind("attention-without-a-config", "drawn/stablelm", channels(()), {"sglang": "refuses"}),
    Kind(
        "mlp-with-a-config",
        "drawn/stablelm",
        channels((*HEAD, "re:.*self_attn.*"), but=".*self_attn.*"),
        {"sglang": "loads"},
    ),
    Kind("attention-plain-anyway", "drawn/stablelm", channels(HEAD, but=".*self_attn.*"), {"sglang": "loads"}),
    # Classes that are left to transformers.
    Kind("class-of-transformers", "drawn/gpt_neox", channels(("embed_out",)), {"sglang": "refuses"}),
    Kind("class-of-transformers-in-plain-FP8", "drawn/gpt_neox", autofp8(("embed_out",)), {"sglang": "unknown"}),
    Kind("class-whose-attention-is-its-own", "drawn/bamba", autofp8((*HEAD, "mamba")), {"sglang": "refuses"}),
    Kind("tower-of-transformers", "drawn/llava", channels(_TOWER_LISTED), {"sglang": "refuses"}),
    Kind("tower-of-its-own", "drawn/mistral3", channels(_TOWER_LISTED), {"sglang": "loads"}),
    # Groups that do not target every layer, and blocks in a group that does not target the class.
    Kind("attention-targeted-alone", "drawn/glm4_moe", mixed("", _ROWS), {"vllm": "loads", "sglang": "refuses"}),
    Kind(
        "attention-targeted-alone-and-the-rest-listed",
        "drawn/glm4_moe",
        steps(mixed("", _ROWS), listed("ignore", "re:.*mlp.*")),
        {"sglang": "loads"},
    ),
    Kind("blocks-targeted-by-name", "drawn/olmo2", mixed("", _ROWS, _TILES), {"vllm": "loads", "sglang": "refuses"}),
    Kind(
        "blocks-targeted-by-class",
        "drawn/olmo2",
        steps(mixed("", _ROWS, _TILES), lambda c: c.block["config_groups"]["group_1"].update(targets=["Linear"])),
        {"sglang": "loads"},
    ),
    # A tower is asked for by the name that its class has for it, whatever is stored.
    Kind("tower-listed-by-its-own-name", "drawn/mistral3", steps(channels(_TOWER_LISTED), _NEWER), {"sglang": "loads"}),
    Kind(
        "tower-listed-by-its-stored-name",
        "drawn/mistral3",
        steps(channels(tuple(e.replace("re:", "re:model.") for e in _TOWER_LISTED[1:])), _NEWER),
        {"sglang": "silently wrong"},
    ),
    # The section that transformers looks into as well.
    Kind(
        "block-in-the-text-section",
        "drawn/qwen3_vl",
        steps(
            channels(("re:.*lm_head", "re:visual.*", "re:model.visual.*")),
            lambda c: c.config["text_config"].update(quantization_config=c.config.pop("quantization_config")),
        ),
        {"transformers": "loads"},
    ),
    Kind(
        "base-model-without-a-head",
        "drawn/qwen3_vl",
        steps(channels(_VISION), set_config(architectures=["Qwen3VLModel"]), drop(r".*lm_head.*")),
        {"transformers": "loads"},
    ),
    Kind(
        "base-model-of-text-without-a-head",
        "llama/llmcompressor-dynamic",
        steps(set_config(architectures=["LlamaModel"]), drop(r".*lm_head.*")),
        {"transformers": "loads"},
    ),
    Kind(
        "model-for-text-without-a-head",
        "llama/llmcompressor-dynamic",
        drop(r".*lm_head.*"),
        {"transformers": "silently wrong"},
    ),
    Kind(
        "base-model-with-a-head",
        "drawn/qwen3_vl",
        steps(channels(_VISION), set_config(architectures=["Qwen3VLModel"])),
        {"transformers": "loads"},
    ),
    # A tower of which nothing is stored, which the list means under stored names only, or under those in memory too.
    Kind(
        "tower-dropped-and-built",
        "drawn/llava",
        steps(channels(_TOWER_LISTED), drop(r"vision_tower\..*")),
        {"transformers": "refuses", "llamacpp": "loads"},
    ),
    Kind(
        "tower-dropped-and-left-alone",
        "drawn/llava",
        steps(channels(("re:.*lm_head", "re:.*vision_tower.*", "re:.*projector.*")), drop(r"vision_tower\..*")),
        {"transformers": "warns", "llamacpp": "loads"},
    ),
    # Scales of a cache in another type than the model, by what attention makes of keys and values then.
    Kind("cache-recast", VL_KV, stored_as(_CACHE, "F32"), {"transformers": "refuses"}),
    Kind("cache-in-the-model's-type", VL_KV, stored_as(_CACHE, "BF16"), {"transformers": "silently wrong"}),
    Kind("cache-recast-and-cast", "llama/llmcompressor-fp8-kv", stored_as(_CACHE, "F32"), {"transformers": "loads"}),
    # A config of which the library makes none.
    Kind("groups-empty", CT, lambda c: c.block.update(config_groups={}), {"transformers": "refuses"}),
    Kind("groups-null", CT, lambda c: c.block.update(config_groups=None), {"transformers": "refuses"}),
    # Parts of an adapter below a linear layer, which has none.
    Kind("adapter-left-over", CT, put(_ADAPTER, "BF16", (4, 64), bytes(512)), {"transformers": "loads"}),
    Kind("linear-left-plain", CT, high_precision(rf"{_Q_AND_V}"), {"transformers": "warns"}),
    # A scale that is left over beside a weight in high precision: what it holds decides where it is multiplied with.
    Kind(
        "left-over-of-ones", CT, put("lm_head.weight_scale", "BF16", (32, 1), b"\x80\x3f" * 32), {"llamacpp": "loads"}
    ),
    Kind(
        "left-over-of-twos",
        CT,
        put("lm_head.weight_scale", "BF16", (32, 1), b"\x80\x3f" * 31 + b"\x00\x40"),
        {"llamacpp": "silently wrong"},
    ),
    # Layers beyond those that the config counts.
    Kind("layer-beyond", "drawn/dots1", layer_beyond, {"llamacpp": "refuses"}),
    Kind("layer-beyond-left-out", "drawn/deepseek_v3", layer_beyond, {"llamacpp": "loads"}),
    Kind("predicts-nothing", "drawn/qwen3_next", _same, {"llamacpp": "refuses"}),
    Kind("predicts", "drawn/qwen3_next", put(_PREDICTS, "BF16", (64,), bytes(128)), {"llamacpp": "loads"}),
    Kind(
        "predicts-by-config-alone",
        "drawn/qwen3_next",
        set_config(mtp_num_hidden_layers=1),
        {"llamacpp": "silently wrong"},
    ),
    Kind("layers-not-counted", "drawn/nemotron_h", _same, {"llamacpp": "refuses"}),
    # Names that the map has for some classes, or behind a prefix only.
    Kind(
        "experts-elsewhere", "drawn/olmoe", rename(r"(.*)\.mlp\.(experts\..*)", r"\1.moe.\2"), {"llamacpp": "refuses"}
    ),
    Kind("experts-in-place", "drawn/olmoe", _same, {"llamacpp": "loads"}),
    Kind("no-prefix", "drawn/glm4", rename(r"model\.(.*)", r"\1"), {"llamacpp": "refuses"}),
    Kind("names-of-meta", CT, of_meta, {"llamacpp": "unknown"}),
    Kind("names-of-meta-not-permuted", "qwen2/llmcompressor-dynamic", of_meta, {"llamacpp": "loads"}),
    Kind("names-of-nobody", CT, rename(r"(.*)\.q_proj\.(.*)", r"\1.wquery.\2"), {"llamacpp": "refuses"}),
    Kind(
        "default-of-a-type",
        "phi3/llmcompressor-dynamic",
        gone("original_max_position_embeddings"),
        {"llamacpp": "loads"},
    ),
    Kind(
        "default-of-no-type",
        "phi3/llmcompressor-dynamic",
        steps(gone("original_max_position_embeddings"), gone("model_type")),
        {"llamacpp": "refuses"},
    ),
    # On a GPU codes whose scales it does not look for are taken for values.
    Kind(
        "plain-fp8-in-a-composite-class", "drawn/mistral3", autofp8(HEAD, "dynamic"), {"transformers": "silently wrong"}
    ),
    Kind(
        "no-block",
        "drawn/qwen3_vl",
        steps(channels(HEAD), set_config(quantization_config=None)),
        {"transformers": "warns"},
    ),
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_verdicts_on_kinds(kind: Kind) -> None:
    folder, _, model = kind.base.partition("/")
    checkpoint = model_of(model) if folder == "drawn" else load(kind.base)
    kind.change(checkpoint)
    found = rows(checkpoint.to_files())
    assert {engine: found[engine].verdict for engine in kind.verdicts} == kind.verdicts


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("real/qwen3_moe/transformers-block", "loads"),
        ("report/fp8-static-experts", "refuses"),
        ("converted/qwen3_moe/bf16/fp8-transformers", "refuses"),
        ("converted/llama/quark-fp8-kv/fp8-block", "loads"),
        ("defect/CK404-1", "silently wrong"),
        ("near/CK404-1", "loads"),
        ("defect/CK624-1", "warns"),
        ("near/CK624-1", "loads"),
    ],
)
def test_plain_fp8_in_a_release_that_reads_it(name: str, verdict: str) -> None:
    """5.17 reads configs that 5.16 refuses whatever they say."""
    files = files_of(corpus()[name])
    assert files is not None
    with at_release("transformers", "5.17.0", {}):
        assert rows(files)["transformers"].verdict == verdict
