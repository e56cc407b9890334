"""Verdicts on checkpoints beside those of the corpus: each of these was loaded by the engines named, and did so.

A row gives what vLLM 0.32.0, SGLang 0.5.23 and transformers 5.16.1 did, "-" where that was not tried or is not known.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.views.matrix import MatrixRow, build_matrix
from tests.accuracy.held.common import (
    CUSTOM_KV,
    MIXTRAL,
    MODELOPT,
    MODELOPT_KV,
    MODELOPT_MOE,
    PLAIN_BLOCK,
    QWEN2,
    QWEN2_QUARK,
    QWEN3,
    SIDE,
    TIED_QUARK,
    WEIGHT_ONLY,
    alone,
    copied,
    first_value,
    inputs,
    listed,
    mapped,
    no_side_file,
    repeated,
    weights,
    without,
)
from tests.damage import (
    BF16,
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK,
    QUARK_BLOCK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
    QUARK_MOE,
    Damage,
    MutableCheckpoint,
    drop,
    load,
    put,
    rename,
    set_block,
    set_config,
    shape,
    steps,
)
from tests.rules.case import context_of

LOADS, REFUSES, SILENT, WARNS, NOTHING, ANY = "loads", "refuses", "silently wrong", "warns", "unknown", "-"
ENGINES = ("vllm", "sglang", "transformers")
_DOWN = r"model\.layers\.0\.mlp\.down_proj"
_KEYS, _VALUES = r".*\.k_scale", r".*\.v_scale"

#: Id -> fixture, change, and what vLLM, SGLang and transformers make of it.
Rows = dict[str, tuple[str, Damage, str, str, str]]


def rows(checkpoint: MutableCheckpoint) -> dict[str, MatrixRow]:
    """Engine -> its verdict on a load."""
    context = context_of(checkpoint)
    report = runner.run(context, Level.SCALES)
    return {row.engine: row for row in build_matrix(context, report, loading_only=True).rows}


def _spec(role: str, **keys: Any) -> Damage:
    return lambda checkpoint: checkpoint.block["global_quant_config"][role].update(keys)


def _group(**keys: Any) -> Damage:
    return lambda checkpoint: checkpoint.group.update(keys)


def _side(**section: Any) -> Damage:
    """ModelOpt's second config alone."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.config.pop("quantization_config")
        checkpoint.files[SIDE] = json.dumps({"producer": {"name": "modelopt"}, "quantization": section}).encode()

    return change


def _sparse(**keys: Any) -> Damage:
    usual = {"format": "sparse-bitmask", "targets": ["Linear"], "ignore": [], "sparsity_structure": "unstructured"}
    return set_block(sparsity_config={**usual, **keys})


def _plain_layers(pattern: str) -> Damage:
    """Layers whose own spec has no weights."""

    def change(checkpoint: MutableCheckpoint) -> None:
        spec = {**checkpoint.block["global_quant_config"], "weight": None, "input_tensors": None}
        checkpoint.block["layer_quant_config"] = {pattern: spec}

    return change


def _flat_side(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config.pop("quantization_config")
    section = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
    checkpoint.files[SIDE] = json.dumps(section).encode()


def _broken_side(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config.pop("quantization_config")
    checkpoint.files[SIDE] = b"{"


_IN_PAIRS = {"format": "sparse-24-bitmask", "sparsity_structure": "2:4"}

CONFIGS: Rows = {
    "16 bits": (QWEN3, weights(num_bits=16), REFUSES, REFUSES, REFUSES),
    "4 bits, static": (CT_FP8, weights(num_bits=4), LOADS, REFUSES, REFUSES),
    "4 bits, experts": (MOE, weights(num_bits=4), LOADS, REFUSES, REFUSES),
    "4 bits, weights alone": (WEIGHT_ONLY, weights(num_bits=4), LOADS, LOADS, REFUSES),
    "integers": (QWEN3, weights(type="int"), SILENT, SILENT, SILENT),
    "integers, static": (CT_FP8, weights(type="int"), SILENT, REFUSES, SILENT),
    "integers, blocks": (BLOCK, weights(type="int"), REFUSES, REFUSES, SILENT),
    "integers, experts": (MOE, weights(type="int"), REFUSES, REFUSES, REFUSES),
    "type unset": (CT_FP8, lambda c: c.group["weights"].pop("type"), SILENT, REFUSES, SILENT),
    "another type": (QWEN3, weights(type="uint"), REFUSES, REFUSES, REFUSES),
    "groups without a size": (QWEN3, weights(strategy="group"), REFUSES, REFUSES, REFUSES),
    "another strategy": (QWEN3, weights(strategy="row"), REFUSES, REFUSES, REFUSES),
    "inputs of integers": (QWEN3, inputs(type="int"), LOADS, LOADS, ANY),
    "asymmetric inputs": (CT_FP8, inputs(symmetric=False), LOADS, LOADS, WARNS),
    "asymmetric blocks": (BLOCK, weights(symmetric=False), REFUSES, REFUSES, WARNS),
    "asymmetric experts": (MOE, weights(symmetric=False), REFUSES, REFUSES, WARNS),
    "asymmetric, Quark": (QUARK_BLOCK, _spec("weight", symmetric=False), LOADS, ANY, LOADS),
    "axis of columns": (QWEN2_QUARK, _spec("weight", ch_axis=1), LOADS, LOADS, REFUSES),
    "axis from the end": (QWEN2_QUARK, _spec("weight", ch_axis=-2), LOADS, LOADS, LOADS),
    "no default": (QUARK_MOE, set_block(global_quant_config=None), REFUSES, REFUSES, REFUSES),
    "E5M2": (QUARK_FP8, _spec("weight", dtype="fp8_e5m2"), REFUSES, REFUSES, ANY),
    "dense": (CT_FP8, steps(set_block(format="dense"), _group(format="dense")), REFUSES, REFUSES, SILENT),
    "another format": (QWEN2, steps(set_block(format="fp8"), _group(format="fp8")), REFUSES, REFUSES, ANY),
    "sparse": (QWEN3, _sparse(), REFUSES, LOADS, LOADS),
    "sparse without targets": (QWEN3, _sparse(targets=[]), LOADS, LOADS, LOADS),
    "sparse in pairs": (CT_FP8, _sparse(**_IN_PAIRS), REFUSES, REFUSES, LOADS),
    "sparse in pairs, weights alone": (WEIGHT_ONLY, _sparse(**_IN_PAIRS), REFUSES, LOADS, LOADS),
    "a list that is null": (MODELOPT, steps(no_side_file, set_block(ignore=None)), REFUSES, SILENT, ANY),
    "a list that is none": (MODELOPT, _side(quant_algo="FP8", exclude_modules="lm_head"), REFUSES, ANY, ANY),
    "a side file without an algorithm": (MODELOPT, _side(quant_algo=None), REFUSES, SILENT, ANY),
    "an empty side file": (MODELOPT_MOE, _side(), REFUSES, SILENT, ANY),
    "a sound side file": (MODELOPT, _side(quant_algo="FP8", exclude_modules=["lm_head"]), LOADS, LOADS, ANY),
    "layers that are missing": (
        MODELOPT_MOE,
        steps(no_side_file, set_block(quant_algo="MIXED_PRECISION")),
        *(REFUSES, ANY, ANY),
    ),
    "no export": (QUARK_MOE, without("export"), REFUSES, REFUSES, REFUSES),
    "another word for codes": (QUARK, lambda c: c.block["export"].update(weight_format="other"), LOADS, LOADS, LOADS),
    "a layer left plain by its spec": (
        QWEN2_QUARK,
        steps(alone(r"model\.layers\..*down_proj"), _plain_layers("*down_proj")),
        *(REFUSES, REFUSES, LOADS),
    ),
    "a layer left plain by the list": (
        QWEN2_QUARK,
        steps(alone(r"model\.layers\..*down_proj"), listed("exclude", "re:.*down_proj", "*down_proj")),
        *(LOADS, LOADS, LOADS),
    ),
    "a spec in a list": (
        QWEN2_QUARK,
        lambda c: c.block["global_quant_config"].update(weight=[c.block["global_quant_config"]["weight"]]),
        *(LOADS, REFUSES, WARNS),
    ),
    "no spec of weights": (
        QWEN2_QUARK,
        lambda c: c.block["global_quant_config"].update(weight=None),
        REFUSES,
        REFUSES,
        ANY,
    ),
    "another granularity": (QWEN2_QUARK, _spec("weight", qscheme="per_row"), REFUSES, REFUSES, REFUSES),
    "another spelling of a type": (QWEN2_QUARK, _spec("weight", dtype="FP8_E4M3"), REFUSES, REFUSES, REFUSES),
    "a spec of biases": (
        QWEN2_QUARK,
        lambda c: c.block["global_quant_config"].update(bias=c.block["global_quant_config"]["weight"]),
        *(REFUSES, REFUSES, REFUSES),
    ),
    "no groups": (QWEN3, without("config_groups"), REFUSES, REFUSES, REFUSES),
    "no weights in a group": (QWEN3, _group(weights=None), REFUSES, REFUSES, REFUSES),
    "dynamic that is null": (QWEN3, inputs(dynamic=None), REFUSES, REFUSES, REFUSES),
    "an order of columns without groups": (QWEN3, weights(actorder="group"), REFUSES, REFUSES, REFUSES),
    "an order of columns that needs none": (QWEN3, weights(actorder="static"), LOADS, LOADS, ANY),
    "three sizes of a block": (BLOCK, weights(block_structure=[128, 128, 1]), REFUSES, REFUSES, REFUSES),
    "groups in tensors": (QWEN3, weights(strategy="tensor_group", group_size=16), REFUSES, REFUSES, ANY),
    "another word for a cache": (CUSTOM_KV, set_block(kv_cache_scheme="fp8"), LOADS, LOADS, ANY),
    "a flat side file": (MODELOPT, _flat_side, LOADS, LOADS, ANY),
    "a side file that is no JSON": (MODELOPT, _broken_side, REFUSES, REFUSES, ANY),
    "null for a config": (QWEN3, lambda c: c.config.update(quantization_config=None), REFUSES, REFUSES, ANY),
    "no block size": (PLAIN_BLOCK, without("weight_block_size"), REFUSES, REFUSES, ANY),
    "one value for each row of one": (
        CT,
        repeated(r"model\.layers\.1\.mlp\.down_proj\.weight_scale", 1),
        *(REFUSES, REFUSES, SILENT),
    ),
}

CACHES: Rows = {
    **{
        f"{name} {value}": (MODELOPT_KV, mapped(pattern, first_value(value)), verdict, SILENT, ANY)
        for name, pattern, verdict in (("keys", _KEYS, REFUSES), ("values", _VALUES, SILENT))
        for value in (0.0, np.nan, -0.5)
    },
    "keys infinite": (MODELOPT_KV, mapped(_KEYS, first_value(np.inf)), SILENT, SILENT, ANY),
    "keys negative and alone": (
        MODELOPT_KV,
        steps(mapped(_KEYS, first_value(-0.5)), drop(_VALUES)),
        *(SILENT, SILENT, ANY),
    ),
    "both negative": (MODELOPT_KV, mapped(r".*\.[kv]_scale", first_value(-0.5)), SILENT, SILENT, ANY),
    "keys alone": (CUSTOM_KV, drop(_VALUES), LOADS, SILENT, ANY),
    "values alone": (MODELOPT_KV, drop(_KEYS), REFUSES, SILENT, ANY),
    "queries at their projection": (
        CT_KV,
        copied(r".*self_attn\.k_scale", lambda n: n.replace("k_scale", "q_proj.q_scale")),
        *(REFUSES, LOADS, LOADS),
    ),
    "queries below attention": (
        CT_KV,
        copied(r".*self_attn\.k_scale", lambda n: n.replace("k_scale", "q_scale")),
        *(LOADS, LOADS, LOADS),
    ),
    "no scales, which may be meant": (MODELOPT_KV, drop(r".*\.[kv]_scale"), NOTHING, NOTHING, ANY),
}


def _as(architecture: str) -> Damage:
    return set_config(architectures=[architecture])


def _score(checkpoint: MutableCheckpoint) -> None:
    rename(r"lm_head\.weight", "score.weight")(checkpoint)
    checkpoint.change(r"score\.weight", lambda t: t._replace(shape=(2, 64), data=t.data[:256]))
    checkpoint.config["num_labels"] = 2


_HEADLESS = steps(drop(r"lm_head\.weight"), _as("LlamaModel"))
_BARE = rename(r"model\.(.*)", r"\1")
_NUMBERED = steps(
    rename(r"(.*experts\.\d+)\.gate_proj\.(.*)", r"\1.w1.\2"),
    rename(r"(.*experts\.\d+)\.down_proj\.(.*)", r"\1.w2.\2"),
    rename(r"(.*experts\.\d+)\.up_proj\.(.*)", r"\1.w3.\2"),
)

CLASSES: Rows = {
    "a base model with a head": (CT, _as("LlamaModel"), LOADS, REFUSES, LOADS),
    "a base model": (CT, _HEADLESS, SILENT, REFUSES, ANY),
    "a base model without the prefix": (CT, steps(_BARE, _HEADLESS), REFUSES, REFUSES, ANY),
    "a model of sentences": (
        CT,
        steps(_BARE, _HEADLESS, lambda c: c.files.update({"modules.json": b"[]"})),
        NOTHING,
        ANY,
        ANY,
    ),
    "a classifier without its head": (QUARK, _as("LlamaForSequenceClassification"), SILENT, SILENT, ANY),
    "a classifier": (
        QWEN2,
        steps(_score, listed("ignore", "score"), _as("Qwen2ForSequenceClassification")),
        LOADS,
        SILENT,
        ANY,
    ),
    "a classifier that is not listed": (
        QWEN2,
        steps(_score, _as("Qwen2ForSequenceClassification")),
        SILENT,
        SILENT,
        ANY,
    ),
    "more heads of keys": (CT, set_config(num_key_value_heads=32), REFUSES, REFUSES, REFUSES),
    "one head of keys, and more promised": (
        QWEN2,
        lambda c: c.config.update(num_key_value_heads=None),
        REFUSES,
        REFUSES,
        SILENT,
    ),
    "heads of keys unsaid": (QWEN3, lambda c: c.config.pop("num_key_value_heads"), REFUSES, REFUSES, SILENT),
    "the hidden size unsaid": (QWEN2, lambda c: c.config.pop("hidden_size"), REFUSES, REFUSES, LOADS),
    "the intermediate size unsaid": (QWEN2, lambda c: c.config.pop("intermediate_size"), REFUSES, SILENT, LOADS),
    "the vocabulary unsaid": (QWEN2, lambda c: c.config.pop("vocab_size"), REFUSES, REFUSES, LOADS),
    "other keys unsaid": (QWEN2, lambda c: c.config.pop("rms_norm_eps"), LOADS, LOADS, LOADS),
    "targets of numbered experts": (
        MIXTRAL,
        steps(_NUMBERED, lambda c: c.group.update(targets=["re:.*(q|k|v|o)_proj$", "re:.*w[123]$"])),
        *(LOADS, REFUSES, ANY),
    ),
    "no prefix in a class that knows it": (QWEN3, _BARE, REFUSES, LOADS, LOADS),
    "no prefix": (CT, _BARE, REFUSES, SILENT, LOADS),
    "no architecture": (CT, lambda c: c.config.pop("architectures"), LOADS, REFUSES, LOADS),
}

_SMOL = set_config(model_type="smollm3", architectures=["SmolLM3ForCausalLM"], no_rope_layers=[1, 1])


def _stood_in(fixture: str, change: Damage, verdict: str) -> tuple[str, Damage, str, str, str]:
    """A class that SGLang leaves to transformers."""
    return fixture, steps(change, _SMOL), ANY, verdict, ANY


_PLAIN_DOWN = alone(_DOWN)
_PLAIN_Q = alone(r"model\.layers\.0\.self_attn\.q_proj")
_INVERSE = rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")

STOOD_IN: Rows = {
    "plain": _stood_in(BF16, lambda c: None, LOADS),
    "quark": _stood_in(QUARK, lambda c: None, LOADS),
    "fp8": _stood_in(QUARK_CUSTOM, lambda c: None, LOADS),
    "blocks": _stood_in(PLAIN_BLOCK, lambda c: None, LOADS),
    "compressed-tensors": _stood_in(CT, lambda c: None, REFUSES),
    "the head on ModelOpt's list": _stood_in(MODELOPT, no_side_file, SILENT),
    "listed": _stood_in(QUARK, steps(_PLAIN_DOWN, listed("exclude", "model.layers.0.mlp.down_proj")), LOADS),
    "listed by a pattern": _stood_in(QUARK, steps(_PLAIN_DOWN, listed("exclude", "*layers.0.mlp.down_proj")), SILENT),
    "a part listed": _stood_in(QUARK, steps(_PLAIN_Q, listed("exclude", "model.layers.0.self_attn.q_proj")), LOADS),
    "listed by its end": _stood_in(
        QUARK_CUSTOM, steps(_PLAIN_DOWN, listed("ignored_layers", "layers.0.mlp.down_proj")), LOADS
    ),
    "listed by its last parts": _stood_in(
        QUARK_CUSTOM, steps(_PLAIN_DOWN, listed("ignored_layers", "mlp.down_proj")), SILENT
    ),
    "not listed": _stood_in(QUARK, _PLAIN_DOWN, SILENT),
    "scales of outputs": _stood_in(QUARK_KV, lambda c: None, REFUSES),
    "scales of keys": _stood_in(CUSTOM_KV, lambda c: None, REFUSES),
    "a scale too many": _stood_in(
        QUARK, copied(rf"{_DOWN}\.weight_scale", lambda n: n.replace("weight_scale", "input_scale")), REFUSES
    ),
    "a scale missing": _stood_in(QUARK_CUSTOM, drop(rf"{_DOWN}\.weight_scale"), SILENT),
    "inverse scales": _stood_in(QUARK_CUSTOM, _INVERSE, LOADS),
    "inverse scales, quark": _stood_in(QUARK, _INVERSE, REFUSES),
    "without the prefix": _stood_in(QUARK, _BARE, LOADS),
    "without a head": _stood_in(QUARK, drop(r"lm_head\.weight"), SILENT),
    "a tied head": _stood_in(TIED_QUARK, lambda c: None, LOADS),
    "a layer too many": _stood_in(
        QUARK, copied(r"model\.layers\.0\..*", lambda n: n.replace("layers.0", "layers.2")), REFUSES
    ),
    "frequencies": _stood_in(
        QUARK, put("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (16,), bytes(64)), LOADS
    ),
    "shapes": _stood_in(QUARK, shape(r".*\.weight_scale", -1, 1), REFUSES),
    "no config": _stood_in(QUARK, lambda c: c.config.pop("quantization_config"), REFUSES),
    "a class of which nothing is known": (QUARK, set_config(architectures=["GlmForCausalLM"]), ANY, NOTHING, ANY),
}


@pytest.mark.parametrize(
    "table", [CONFIGS, CACHES, CLASSES, STOOD_IN], ids=["configs", "caches", "classes", "stood-in"]
)
def test_neighbours(table: Rows) -> None:
    wrong = []
    for name, (fixture, change, *expected) in table.items():
        checkpoint = load(fixture)
        change(checkpoint)
        found = rows(checkpoint)
        for engine, verdict in zip(ENGINES, expected, strict=True):
            if verdict not in (ANY, found[engine].verdict):
                wrong.append((name, engine, verdict, found[engine].verdict, found[engine].why))
    assert wrong == []


def test_a_class_may_want_a_key_of_the_config() -> None:
    checkpoint = load(QUARK)
    set_config(model_type="ministral3", architectures=["Ministral3ForCausalLM"], sliding_window=None)(checkpoint)
    assert rows(checkpoint)["transformers"].verdict == REFUSES
    assert "llama_4_scaling_beta" in " ".join(rows(checkpoint)["transformers"].why)
    keys = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16384}
    checkpoint.config["rope_parameters"] = {**checkpoint.config["rope_parameters"], **keys}
    assert rows(checkpoint)["transformers"].verdict == LOADS
    del checkpoint.config["rope_parameters"]  # its default has both
    assert rows(checkpoint)["transformers"].verdict == LOADS


def test_one_value_throughout_may_be_what_was_meant() -> None:
    """A declaration of rows beside one value for every weight: whether it or the scales are wrong is not known."""
    checkpoint = load(CT_FP8)
    weights(strategy="channel")(checkpoint)
    assert rows(checkpoint)["transformers"].verdict == NOTHING
    assert rows(checkpoint)["vllm"].verdict == REFUSES


def test_inputs_are_scaled_while_running_where_no_scale_is_stored() -> None:
    """TensorRT-LLM's linear layers do so; of a fused layer that lacks one of its parts' scales it takes any number."""
    whole, part = load(MODELOPT), load(MODELOPT)
    drop(r".*\.input_scale")(whole)
    assert rows(whole)["trtllm"].verdict == LOADS
    drop(r"model\.layers\.0\.self_attn\.q_proj\.input_scale")(part)
    assert rows(part)["trtllm"].verdict == SILENT
    experts = load(MODELOPT_MOE)
    drop(r"model\.layers\.0\.mlp\.experts\.1\.up_proj\.input_scale")(experts)
    assert rows(experts)["trtllm"].verdict == REFUSES
