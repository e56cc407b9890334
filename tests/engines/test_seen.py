"""What engines were seen to do otherwise than each other: each kind once, as they were loaded for docs/accuracy.md."""

from __future__ import annotations

import pytest

from ckptkit.engines.model_types import class_of
from ckptkit.engines.registry import effects_of
from ckptkit.engines.skip_lists import Reading, Style
from tests.damage import (
    CT,
    MOE,
    QUARK,
    QUARK_KV,
    Damage,
    drop,
    high_precision,
    load,
    put,
    rename,
    set_block,
    set_config,
    skip,
)
from tests.engines.test_support import matrix_of
from tests.rules.case import report

_QKV = r"model\.layers\.0\.self_attn\.[qkv]_proj"
_PARTS = tuple(f"model.layers.0.self_attn.{part}_proj" for part in "qkv")
VLLM, SGLANG, TRANSFORMERS = "vllm", "sglang", "transformers"


def verdicts(base: str, *changes: Damage) -> dict[str, str]:
    checkpoint = load(base)
    for change in changes:
        change(checkpoint)
    return {row.engine: row.verdict for row in matrix_of(checkpoint).rows}


def test_sglang_asks_most_classes_for_a_fused_layer_by_its_own_name() -> None:
    """Parts on a skip list say nothing to it in Llama; Qwen3-MoE declares what its fused layers are made of."""
    parts = (high_precision(_QKV), *map(skip, _PARTS))
    assert (verdicts(CT, *parts)[SGLANG], verdicts(CT, *parts)[VLLM]) == ("silently wrong", "loads")
    assert verdicts(CT, *parts, skip("model.layers.0.self_attn.qkv_proj"))[SGLANG] == "loads"
    assert verdicts(MOE, *parts)[SGLANG] == "loads"
    assert verdicts(QUARK, *parts)[SGLANG] == "silently wrong"


def test_sglang_stops_at_a_fused_layer_that_no_group_names() -> None:
    def by_parts(*words: str) -> Damage:
        def change(checkpoint) -> None:  # type: ignore[no-untyped-def]
            checkpoint.group["targets"] = [rf"re:.*\.{word}$" for word in words]

        return change

    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert (verdicts(CT, by_parts(*parts))[SGLANG], verdicts(CT, by_parts(*parts))[VLLM]) == ("refuses", "loads")
    assert verdicts(CT, by_parts(*parts, "qkv_proj", "gate_up_proj"))[SGLANG] == "loads"


def test_a_reading_that_asks_for_whole_layers() -> None:
    reading = Reading(Style.EXACT, ("ignore",), knows_parts={"qkv_proj": ("Gemma",)}, renames={".attn.qkv": ".attn.x"})
    assert reading.asked("Gemma2ForCausalLM")("a.q_proj") == "a.q_proj"
    assert reading.asked(None)("a.q_proj") == "a.qkv_proj"
    assert reading.asked(None)("a.gate_proj") == "a.gate_proj"
    assert reading.asked(None)("visual.blocks.0.attn.qkv") == "visual.blocks.0.attn.x"
    ending = Reading(Style.ENDING_OR_REGEX, ("ignore",)).matcher(["mlp.gate", "re:.*head"])
    assert [ending(name) for name in ("a.mlp.gate", "mlp.gate", "xmlp.gate", "lm_head")] == [True, True, False, True]


@pytest.mark.parametrize(
    ("change", "engine", "verdict"),
    [
        (rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv"), SGLANG, "loads"),
        (rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv"), VLLM, "refuses"),
        (set_config(num_hidden_layers=1), SGLANG, "silently wrong"),
        (set_config(num_hidden_layers=1), VLLM, "refuses"),
        (put("model.layers.2.input_layernorm.weight", "BF16", (64,), bytes(128)), SGLANG, "loads"),
        (put("model.layers.2.input_layernorm.weight", "BF16", (64,), bytes(128)), TRANSFORMERS, "loads"),
        (set_config(vision_config={}), VLLM, "loads"),
        (set_config(hidden_act="a"), VLLM, "refuses"),
        (set_config(intermediate_size=96), TRANSFORMERS, "loads"),
        (set_config(intermediate_size=96), VLLM, "refuses"),
        (set_config(num_attention_heads=2), TRANSFORMERS, "refuses"),
        (set_config(num_key_value_heads=1), TRANSFORMERS, "loads"),
        (set_config(tie_word_embeddings=True), VLLM, "loads"),
        (set_config(tie_word_embeddings=True), SGLANG, "silently wrong"),
        (set_block(quant_method="compressed_tensors"), VLLM, "loads"),
        (set_block(quant_method="compressed_tensors"), SGLANG, "refuses"),
        (set_config(architectures=None), SGLANG, "refuses"),
        (set_config(architectures=None), VLLM, "loads"),
        (set_config(architectures=["SomeNewModel"]), TRANSFORMERS, "loads"),
        (put("model.layers.0.self_attn.sinks", "BF16", (4,), bytes(8)), VLLM, "refuses"),
        (drop(r"model\.layers\.0\.self_attn\.v_proj\..*"), TRANSFORMERS, "refuses"),
        (drop(r"model\.norm\.weight"), TRANSFORMERS, "silently wrong"),
    ],
)
def test_engines_differ(change: Damage, engine: str, verdict: str) -> None:
    assert verdicts(CT, change)[engine] == verdict


def test_the_quark_library_knows_its_own_names_only() -> None:
    found = verdicts(QUARK_KV, rename(r"(.*)\.k_proj\.output_scale", r"\1.k_scale"))
    assert (found[VLLM], found[SGLANG], found[TRANSFORMERS]) == ("loads", "loads", "warns")


def test_what_is_said_of_a_group_is_not_said_of_engines_that_find_another() -> None:
    """vLLM and SGLang take the group that the tensors fit; the library, and transformers with it, the other."""
    checkpoint = load("llama/llmcompressor-groups")
    checkpoint.block["config_groups"]["group_1"]["targets"].append("model.layers.0.self_attn.q_proj")
    findings = {finding.code: {e.engine for e in finding.engines} for finding in report(checkpoint).findings}
    assert VLLM not in findings["CK306"] and TRANSFORMERS in findings["CK306"]
    assert {row.engine: row.verdict for row in matrix_of(checkpoint).rows}[VLLM] == "loads"


def test_a_tied_head_that_is_called_quantized_is_made_up_by_transformers() -> None:
    found = verdicts("llama-tied/quark-ptpc-file2file")
    assert (found[VLLM], found[TRANSFORMERS]) == ("loads", "warns")


def test_a_class_is_guessed_from_the_model_type() -> None:
    classes = frozenset({"Qwen2_5_VLForConditionalGeneration", "Qwen2ForCausalLM"})
    assert class_of("qwen2_5_vl", classes) == "Qwen2_5_VLForConditionalGeneration"
    assert class_of("qwen2", classes) == "Qwen2ForCausalLM"
    assert class_of("qwen3", classes) is class_of(None, classes) is None


def test_one_spelling_of_a_scale_does_for_llama_and_not_for_others() -> None:
    def sglang(architecture: str) -> list[str]:
        found = effects_of("CK203", dialect="compressed-tensors", architecture=architecture, only=[SGLANG])
        return [effect.outcome.value for effect in found]

    assert sglang("LlamaForCausalLM") == ["ok"]
    assert sglang("Qwen3MoeForCausalLM") == ["silent"]


def _targets(*targets: str) -> Damage:
    def change(checkpoint) -> None:  # type: ignore[no-untyped-def]
        checkpoint.group["targets"] = list(targets)

    return change


def _parts(checkpoint) -> None:  # type: ignore[no-untyped-def]
    checkpoint.block["exclude_modules"] = checkpoint.block.pop("ignore")
    checkpoint.files.pop("hf_quant_config.json")


_MODELOPT, _QWEN2, _QWEN3, _MIXTRAL = (
    "llama/modelopt-fp8",
    "qwen2/llmcompressor-dynamic",
    "qwen3/llmcompressor-dynamic",
    "mixtral/llmcompressor-dynamic",
)
_KV = r"(.*\.self_attn)\.([kv])_scale"


@pytest.mark.parametrize(
    ("base", "change", "found"),
    [
        (_MODELOPT, _parts, {VLLM: "silently wrong", SGLANG: "silently wrong"}),
        (_MODELOPT, set_block(quant_method="modelopt_fp8"), {VLLM: "loads", SGLANG: "loads"}),
        ("llama/quark-fp8-custom", set_block(quant_method="FP8"), {VLLM: "loads", SGLANG: "silently wrong"}),
        (_QWEN2, set_block(ignore=None), {VLLM: "refuses", SGLANG: "refuses"}),
        (_QWEN2, drop(r"model\.layers\.0\.self_attn\.q_proj\.bias"), {VLLM: "silently wrong", TRANSFORMERS: "warns"}),
        (_QWEN2, set_config(num_hidden_layers=3), {VLLM: "refuses", SGLANG: "refuses", TRANSFORMERS: "refuses"}),
        (_QWEN3, _targets("re:.*"), {VLLM: "refuses", SGLANG: "loads", TRANSFORMERS: "refuses"}),
        (_QWEN3, _targets("re:.*(qkv|gate_up|o|down)_proj$"), {VLLM: "loads", SGLANG: "loads", TRANSFORMERS: "warns"}),
        (_MIXTRAL, _targets("re:.*_proj$"), {VLLM: "refuses"}),
        (MOE, set_config(num_local_experts=3), {VLLM: "refuses", SGLANG: "refuses", TRANSFORMERS: "refuses"}),
        (MOE, set_config(mlp_only_layers=[0]), {VLLM: "refuses", SGLANG: "loads", TRANSFORMERS: "refuses"}),
        (MOE, set_block(ignore=["lm_head", "*.mlp.gate"]), {TRANSFORMERS: "loads"}),
        (_MIXTRAL, set_block(ignore=["lm_head", "*.gate"]), {VLLM: "loads"}),
        ("llama/llmcompressor-fp8-kv", rename(_KV, r"\1.attn.\2_scale"), {VLLM: "loads", SGLANG: "silently wrong"}),
        (QUARK, set_block(exclude=None), {SGLANG: "refuses", TRANSFORMERS: "warns"}),
        (QUARK, lambda c: c.block.pop("exclude"), {SGLANG: "loads", TRANSFORMERS: "refuses"}),
        (QUARK, set_block(layer_quant_config=None, layer_type_quant_config=None), {TRANSFORMERS: "loads"}),
        (
            QUARK,
            lambda c: c.block.update(layer_type_quant_config={"Linear": c.block["global_quant_config"]}),
            {VLLM: "loads", SGLANG: "loads", TRANSFORMERS: "loads"},
        ),
        (
            QUARK,
            lambda c: c.block["global_quant_config"]["weight"].update(is_dynamic=True),
            {VLLM: "refuses", SGLANG: "refuses", TRANSFORMERS: "refuses"},
        ),
        (
            QUARK,
            lambda c: c.config.update(compression_config=c.config.pop("quantization_config")),
            {VLLM: "loads", TRANSFORMERS: "warns"},
        ),
    ],
)
def test_kinds_that_were_held_out(base: str, change: Damage, found: dict[str, str]) -> None:
    """What verdicts got wrong on checkpoints that nobody had seen, as three engines then did it."""
    said = verdicts(base, change)
    assert {engine: said[engine] for engine in found} == found
