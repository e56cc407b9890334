"""What llama.cpp's converter makes of names, shapes and config: each step at which it stops, and neighbours of it that
it converts. Every verdict was held against build b11312, or b8643 where that is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptkit.engines.llamacpp.architectures import ARCHITECTURES, architectures_of
from ckptkit.engines.llamacpp.classes import CLASSES
from ckptkit.engines.llamacpp.dequantizing import StopError, dequantize
from ckptkit.engines.llamacpp.lacking import LACKING
from ckptkit.engines.llamacpp.sizes import Told, misfit
from ckptkit.engines.llamacpp.towers import left_out
from ckptkit.engines.registry import by_name
from ckptkit.engines.releases import Release
from tests.accuracy.held.common import cut
from tests.accuracy.verdicts import at_release
from tests.damage import (
    BLOCK,
    CT,
    MOE,
    TIED,
    Damage,
    MutableCheckpoint,
    drop,
    put,
    rename,
    set_block,
    set_config,
    shape,
    steps,
)
from tests.engines.test_llamacpp import MODELOPT, NVFP4, TRANSFORMERS, changed, judged

OLDER, NEWER = by_name("llamacpp").releases
QWEN2, QWEN3 = "qwen2/llmcompressor-dynamic", "qwen3/llmcompressor-dynamic"
MIXTRAL = "mixtral/llmcompressor-dynamic"
SIDE = "hf_quant_config.json"
_BARE = rename(r"model\.(.*)", r"\1")


def _weights(**keys: Any) -> Damage:
    return lambda checkpoint: checkpoint.group["weights"].update(keys)


def _side(document: object) -> Damage:
    return lambda checkpoint: checkpoint.files.update({SIDE: json.dumps(document).encode()})


def _without_block(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config.pop("quantization_config")


def _vision(checkpoint: MutableCheckpoint) -> None:
    put("visual.blocks.0.norm1.weight", "BF16", (8,), bytes(16))(checkpoint)


def _file(name: str) -> Damage:
    return lambda checkpoint: checkpoint.shards.update({name: checkpoint.shards.pop("model.safetensors")})


def _model(name: str, **keys: Any) -> Damage:
    return set_config(architectures=[name], **keys)


@pytest.mark.parametrize(
    ("fixture", "change", "verdict", "words"),
    [
        # Its classes: the list is all that it has.
        (CT, _model("LlamaForSequenceClassification"), "refuses", "is not supported"),
        (CT, set_config(architectures=None), "refuses", "Failed to detect model architecture"),
        (CT, set_config(architectures=None, text_config={"architectures": ["LlamaForCausalLM"]}), "loads", ""),
        (CT, _model("LlamaModel"), "refuses", "Can not map tensor 'model.model.embed_tokens.weight'"),
        (QWEN2, _model("Qwen2Model"), "refuses", "model.model."),
        (QWEN2, steps(_model("Qwen2Model"), _BARE), "loads", ""),
        (CT, _model("Olmo2ForCausalLM"), "refuses", "input_layernorm"),
        (CT, _model("Starcoder2ForCausalLM"), "refuses", "gate_proj"),
        (CT, _model("SeedOssForCausalLM"), "loads", ""),
        (QWEN3, _model("SeedOssForCausalLM"), "refuses", "k_norm"),
        (CT, _model("GraniteForCausalLM"), "silently wrong", "and the metadata says"),
        (CT, _model("GraniteForCausalLM", head_dim=None), "silently wrong", "self_attn"),
        (QWEN2, _model("GraniteForCausalLM"), "loads", ""),
        (CT, _model("Ministral3ForCausalLM", model_type="ministral3"), "refuses", "rope_type must be 'yarn'"),
        (
            CT,
            _model("Ministral3ForCausalLM", model_type="ministral3", rope_parameters={"rope_type": "yarn"}),
            "loads",
            "",
        ),
        (CT, _model("Ministral3ForCausalLM"), "loads", ""),
        # Names: prefixes that its map knows, and those that it takes out.
        (CT, _BARE, "loads", ""),
        (MOE, _BARE, "refuses", "Can not map tensor"),
        (CT, rename(r"model\.(.*)", r"model.text_model.\1"), "loads", ""),
        (QWEN2, rename(r"model\.(.*)", r"model.text_model.\1"), "refuses", "text_model"),
        (CT, put("model.visual.norm.weight", "BF16", (2,), bytes(4)), "loads", ""),
        (CT, put("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (16,), bytes(64)), "loads", ""),
        (CT, put("model.layers.0.self_attn.sinks", "BF16", (4,), bytes(8)), "refuses", "sinks"),
        (CT, set_config(num_hidden_layers=1), "refuses", "Can not map tensor 'model.layers.1"),
        (CT, set_config(num_hidden_layers=3), "silently wrong", "nothing fills model.layers.2"),
        (CT, set_config(num_hidden_layers=None), "silently wrong", "how many layers"),
        (QWEN2, set_config(num_hidden_layers=None), "refuses", "could not find any of"),
        (QWEN2, set_config(num_hidden_layers=3), "silently wrong", "nothing fills model.layers.2"),
        # Heads and embeddings.
        (TIED, _model("LlamaForCausalLM"), "loads", ""),
        (TIED, set_config(tie_word_embeddings=None), "loads", ""),
        (TIED, set_config(tie_word_embeddings=False), "unknown", "takes for the head"),
        (CT, drop(r"model\.embed_tokens\.weight"), "silently wrong", "nothing fills model.embed_tokens"),
        # Files.
        (MODELOPT, _file("weights.safetensors"), "silently wrong", "no file has a name"),
        (MODELOPT, _file("model-fp8.safetensors"), "loads", ""),
        # Sizes against the metadata.
        (CT, set_config(hidden_size=None), "silently wrong", "does not give its size"),
        (CT, set_config(vocab_size=64), "silently wrong", "embed_tokens is [32, 64]"),
        (QWEN2, set_config(vocab_size=64), "loads", ""),
        (QWEN2, cut(r"lm_head\.weight", -4), "silently wrong", "of other vocabularies"),
        (QWEN2, cut(r"(lm_head|model\.embed_tokens)\.weight", -4), "loads", ""),
        (NVFP4, set_config(num_key_value_heads=1), "silently wrong", "k_proj is [128, 128]"),
        (CT, set_config(num_key_value_heads=[2, 2]), "loads", ""),
        # Experts: no more and no fewer than config.json says.
        (MOE, set_config(num_local_experts=3), "refuses", "Unprocessed experts"),
        (MOE, set_config(mlp_only_layers=[0]), "loads", ""),
        (MIXTRAL, set_config(num_local_experts=8), "refuses", "Unprocessed experts"),
        (MIXTRAL, rename(r"(.*)\.block_sparse_moe\.(.*)", r"\1.mlp.\2"), "refuses", "Can not map tensor"),
        # Shapes: what broadcasts is multiplied, whatever is declared.
        (MODELOPT, shape(r".*0\.mlp\.up_proj\.weight_scale", 1, 1), "loads", ""),
        (MODELOPT, set_block(quant_algo="FP8_PER_CHANNEL_PER_TOKEN"), "loads", ""),
        (MODELOPT, set_block(quant_algo="MIXED_PRECISION"), "loads", ""),
        ("llama/modelopt-channel", set_block(quant_algo="FP8"), "loads", ""),
        (BLOCK, _weights(strategy="channel"), "loads", ""),
        (BLOCK, _weights(block_structure="128x128"), "refuses", "repeat_interleave"),
        (BLOCK, _weights(block_structure=[64, 64]), "refuses", "broadcast"),
        (BLOCK, lambda c: c.group["weights"].pop("block_structure"), "refuses", "broadcast"),
        (CT, _weights(block_structure=[128, 128]), "silently wrong", "scales of others"),
        (TRANSFORMERS, set_block(weight_block_size=None), "refuses", "broadcast"),
        (TRANSFORMERS, set_block(weight_block_size=[128]), "refuses", "broadcast"),
        (TRANSFORMERS, set_block(activation_scheme="static"), "loads", ""),
        # A config that nobody else understands is read by a few keys.
        (QWEN3, _weights(num_bits=4), "loads", ""),
        (QWEN3, _weights(type="int", symmetric=False), "loads", ""),
        (QWEN3, steps(_weights(num_bits=4), drop(r".*\.weight_scale")), "silently wrong", ""),
        (QWEN3, steps(_weights(num_bits=4), _weights(group_size=32)), "refuses", "group_size"),
        (QWEN3, set_block(format="dense"), "refuses", "Quant format 'dense'"),
        (QWEN3, set_block(sparsity_config={"format": "sparse-24-bitmask"}), "loads", ""),
        (NVFP4, lambda c: c.config.update(quantization_config={}), "loads", ""),
        (NVFP4, set_block(quant_algo="MIXED_PRECISION"), "loads", ""),
        # ModelOpt's file beside config.json names a producer, which stands for a method.
        (MODELOPT, steps(_without_block, _side({"producer": {"name": "modelopt"}, "quantization": {}})), "loads", ""),
        (MODELOPT, steps(_without_block, _side({"quantization": {"quant_algo": "FP8"}})), "refuses", "''"),
        (MODELOPT, steps(set_block(quant_method=None), _side({"producer": {"name": "modelopt"}})), "loads", ""),
        (MODELOPT, steps(_side([]), set_block(quant_algo=None)), "refuses", "has no attribute 'get'"),
        (MODELOPT, set_block(quant_method="modelopt_fp8"), "refuses", "Quant method is not yet supported"),
        (
            MODELOPT,
            set_block(quantized_layers={"model.layers.9.mlp": {"quant_algo": "FP8"}}),
            "refuses",
            "is not in the model tensors",
        ),
    ],
)
def test_each_step(fixture: str, change: Damage, verdict: str, words: str) -> None:
    _, row = judged(changed(fixture, change))
    assert row.verdict == verdict, (row.why, row.codes)
    assert any(words in reason for reason in row.why) or not words, row.why


@pytest.mark.parametrize(
    ("fixture", "change", "older", "newer"),
    [
        (CT, put("model.visual.norm.weight", "BF16", (2,), bytes(4)), "refuses", "loads"),
        (CT, put("model.vision_tower.norm.weight", "BF16", (2,), bytes(4)), "loads", "loads"),
        (MOE, put("model.visual.norm.weight", "BF16", (2,), bytes(4)), "loads", "loads"),
        (CT, _model("TalkieForCausalLM"), "refuses", "refuses"),
        (CT, _model("NanbeigeForCausalLM"), "refuses", "loads"),
        (CT, rename(r"model\.(.*)", r"model.language_model.\1"), "refuses", "loads"),
        (QWEN2, rename(r"model\.(.*)", r"model.language_model.\1"), "loads", "loads"),
        ("phi3/llmcompressor-dynamic", lambda c: None, "loads", "loads"),
        ("phi3/llmcompressor-dynamic", rename(r"(.*)", r"language_model.\1"), "refuses", "loads"),
        ("phi3/llmcompressor-dynamic", put("vision_tower.a.weight", "BF16", (2,), bytes(4)), "loads", "loads"),
        (CT, rename(r"(.*)", r"language_model.\1"), "loads", "loads"),
        ("phi3/llmcompressor-dynamic", _model("LlamaForCausalLM"), "refuses", "silently wrong"),
        # A tower under a name that the older class does not know it by, and one that both do.
        ("qwen2/llmcompressor-dynamic", steps(_vision, _model("Qwen3VLForConditionalGeneration")), "refuses", "loads"),
        (
            MODELOPT,
            steps(_without_block, _side({"producer": {"name": "modelopt"}}), drop(r".*\.input_scale")),
            "refuses",
            "loads",
        ),
    ],
)
def test_builds_differ_in_names(fixture: str, change: Damage, older: str, newer: str) -> None:
    checkpoint = changed(fixture, change)
    with at_release("llamacpp", "b8643", {}):
        assert judged(checkpoint)[1].verdict == older
    assert judged(checkpoint)[1].verdict == newer


W, S = "m.weight", "m.weight_scale"
_GROUP: dict[str, Any] = {"weights": {"strategy": "channel"}}


def _ct(kind: object = "float-quantized", **groups: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "format": kind, "config_groups": groups or {"g": _GROUP}}


@pytest.mark.parametrize(
    ("shapes", "block", "left"),
    [
        ({W: (4, 4), S: ()}, _ct(), {W}),
        ({W: (4, 4), S: (4, 1)}, {"quant_method": "modelopt"}, {W}),
        ({W: (4, 4), "m.input_scale": (), "a.k_scale": ()}, {"quant_method": "modelopt"}, {W}),
        ({S: (), W: (4, 4), "n.weight_scale": ()}, {"quant_method": "modelopt"}, {W}),
        ({W: (4, 4), f"{W}_scale_inv": (), "m.activation_scale": (), "m.qscale_act": ()}, {"quant_method": "fp8"}, {W}),
        ({W: (4, 4), "m.qscale_weight": ()}, {"quant_method": "fp8"}, {W}),
        ({W: (4, 4), S: ()}, {"quant_method": "fp8"}, {W, S}),
        ({W: (4, 4), S: ()}, {}, {W, S}),
        ({W: (4, 4), S: ()}, {"bits": 8}, {W, S}),
        ({W: (4, 8), S: (4, 4), f"{S}_2": (), "m.input_scale": ()}, {"quant_algo": "NVFP4"}, {W, S, f"{S}_2"}),
        ({W: (4, 32), S: (4, 4), f"{S}_2": (), "m.input_scale": ()}, {"quant_algo": "NVFP4"}, set()),
        ({"m.weight_packed": (4, 32), S: (4, 4), "m.weight_global_scale": ()}, _ct("nvfp4-pack-quantized"), set()),
        (
            {"m.weight_packed": (4, 1), S: (4, 1), "m.weight_shape": (2,)},
            _ct("pack-quantized", g={"weights": {"strategy": "group", "num_bits": 4, "group_size": 8}}),
            {W},
        ),
    ],
)
def test_what_is_left(shapes: dict[str, tuple[int, ...]], block: dict[str, Any], left: set[str]) -> None:
    if block == {"quant_algo": "NVFP4"} and left:
        with pytest.raises(StopError, match="is invalid for NVFP4"):
            dequantize(shapes, block, None, NEWER)
        return
    assert set(dequantize(shapes, block, None, NEWER).shapes) == left


@pytest.mark.parametrize(
    ("shapes", "block", "words"),
    [
        ({}, "fp8", "no attribute 'get'"),
        ({}, {"quant_method": "awq"}, "'awq'"),
        ({S: ()}, _ct(), "KeyError: 'm.weight'"),
        ({f"{W}_scale_inv": ()}, {"quant_method": "fp8"}, "KeyError: 'm.weight'"),
        ({W: (4, 6), S: (2,)}, _ct(), "broadcast"),
        ({W: (4, 6), S: (1, 4)}, _ct(), "broadcast"),
        ({}, {"quant_method": "compressed-tensors", "config_groups": {}}, "KeyError: 'format'"),
        ({}, {"quant_method": "compressed-tensors", "format": "dense"}, "KeyError: 'config_groups'"),
        ({}, {**_ct(), "config_groups": {}}, "IndexError"),
        ({}, {**_ct(), "config_groups": 1}, "has no len"),
        ({}, {**_ct(), "config_groups": ["FP8"]}, "AttributeError"),
        ({}, _ct(FP8=["Linear"]), "list indices"),
        ({}, _ct(a=_GROUP, b=_GROUP), "multiple config groups"),
        ({}, _ct(g={}), "KeyError: 'weights'"),
        ({}, _ct(g={"weights": None}), "has no attribute 'get'"),
        ({}, _ct(g={"weights": {"strategy": "tensor"}}), "assert strategy"),
        ({}, _ct("pack-quantized"), 'get\\("strategy"\\) == "group"'),
        ({}, _ct("pack-quantized", g={"weights": {"strategy": "group", "type": "float"}}), "type"),
        ({}, _ct("pack-quantized", g={"weights": {"strategy": "group", "num_bits": 4}}), "isinstance"),
        ({}, _ct("mixed-precision"), "'mixed-precision'"),
    ],
)
def test_where_it_stops(shapes: dict[str, tuple[int, ...]], block: object, words: str) -> None:
    with pytest.raises(StopError, match=words):
        dequantize(shapes, block, None, NEWER)


def test_an_older_build_stops_where_a_newer_one_does_not() -> None:
    nvfp4 = _ct("nvfp4-pack-quantized", a=_GROUP, b=_GROUP)
    assert dequantize({W: (4, 4)}, nvfp4, None, NEWER).shapes == {W: (4, 4)}
    for shapes, block in (({W: (4, 4)}, nvfp4), ({S: ()}, {"quant_method": "modelopt"})):
        with pytest.raises(StopError):
            dequantize(shapes, block, None, OLDER)
    inputs = {W: (4, 4), "m.input_scale": ()}
    assert set(dequantize(inputs, {"quant_method": "modelopt"}, None, OLDER).shapes) == set(inputs)


def test_scales_that_do_not_meet_their_elements_are_seen() -> None:
    blocks = {"quant_method": "fp8", "weight_block_size": [4, 4]}
    assert dequantize({W: (8, 4), f"{W}_scale_inv": (2, 1)}, blocks, None, NEWER).odd == ""
    assert dequantize({W: (8, 4), f"{W}_scale_inv": (3, 1)}, blocks, None, NEWER).odd == ""
    assert dequantize({W: (8, 4), f"{W}_scale_inv": (8, 1)}, blocks, None, NEWER).odd == W
    assert dequantize({W: (1, 4), S: (8, 4)}, _ct(), None, NEWER).odd == W
    with pytest.raises(StopError, match="Dimension out of range"):
        dequantize({W: (8, 4), f"{W}_scale_inv": ()}, blocks, None, NEWER)
    with pytest.raises(StopError, match="must be positive"):
        dequantize({W: (8, 4), f"{W}_scale_inv": (2, 1)}, blocks | {"weight_block_size": [4, 0]}, None, NEWER)


def test_its_classes_are_those_of_two_builds() -> None:
    assert (len(architectures_of(OLDER)), len(architectures_of(NEWER))) == (200, 269)
    assert architectures_of(OLDER) < ARCHITECTURES == architectures_of(NEWER)
    assert set(CLASSES) | set(LACKING) <= ARCHITECTURES
    assert {frozenset({"mlp.gate"}), frozenset()} <= set(LACKING.values())
    words = {word for lacking in LACKING.values() for word in lacking}
    assert words <= {
        *("lm_head", "model.norm", "input_layernorm", "post_attention_layernorm", "mlp.gate"),
        *(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "q_norm", "k_norm")),
        *(f"mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj", "gate_up_proj")),
    }


@pytest.mark.parametrize("name", sorted(set(CLASSES) & set(LACKING)))
def test_both_tables_of_names_agree(name: str) -> None:
    known = CLASSES[name]
    inside = {part for part in LACKING[name] if "." in part and known.maps(f"model.layers.0.{part}", 1, NEWER)}
    assert not inside - {"mlp.gate"}


def test_towers_are_left_out_by_build() -> None:
    for name in ("visual.a.weight", "model.vision_tower.a.weight", "multi_modal_projector.a.weight", "mlp1.0.weight"):
        assert left_out(name, "LlamaForCausalLM", NEWER), name
    assert not left_out("model.layers.0.mlp.up_proj.weight", "LlamaForCausalLM", NEWER)
    assert not left_out("model.multi_modal_projector.a", "Gemma3ForConditionalGeneration", OLDER)
    assert left_out("multi_modal_projector.a", "Gemma3ForConditionalGeneration", OLDER)
    assert left_out("visual.a", "Qwen2_5_VLForConditionalGeneration", Release("b8643", "2026-04-03"))


def test_sizes_are_those_of_the_metadata() -> None:
    config = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "vocab_size": 9}
    q, k = {"model.layers.0.self_attn.q_proj": (12, 8)}, {"model.layers.0.self_attn.k_proj": (6, 8)}
    assert misfit(Told(), config, q | k) == ""
    assert "[8, 8]" in misfit(Told(head_dim=False), config, q)
    assert "k_proj" in misfit(Told(), {**config, "num_key_value_heads": None}, k)
    assert misfit(Told(), config, {"model.embed_tokens": (10, 8)}) == ""
    assert "embed_tokens" in misfit(Told(vocabulary=True), config, {"model.embed_tokens": (10, 8)})
    experts = {"model.layers.0.mlp.experts.3.up_proj": (4, 8)}
    assert misfit(Told(), {**config, "moe_intermediate_size": 4}, experts) == ""
    assert "does not give its size" in misfit(Told(), config, experts)
    assert misfit(Told(), config, {"model.layers.0.mlp.odd": (1, 1)}) == ""
