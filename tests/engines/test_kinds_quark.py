"""What Quark's importer makes of checkpoints that lack something that it builds, or hold more: kinds of a third
held-out set, each beside a near miss."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.views.matrix import MatrixRow
from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import HEAD, ordered, quark
from tests.accuracy.corpus import corpus
from tests.accuracy.held.common import CUSTOM_KV, MIXTRAL_QUARK, QWEN2_QUARK, copied, stored_as
from tests.accuracy.verdicts import rows
from tests.damage import (
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
    Damage,
    drop,
    high_precision,
    load,
    rename,
    set_block,
    set_config,
    shape,
    steps,
)

_PTPC = quark((*HEAD, "*mlp.gate", "*shared_expert_gate"))
_UNLISTED_GATE = quark((*HEAD, "*mlp.gate"), but=r".*shared_expert_gate")
_UNLISTED_ROUTER = quark((*HEAD, "*shared_expert_gate"), but=r".*mlp\.gate")


@pytest.mark.parametrize(
    ("base", "change", "verdict"),
    [
        # Every module of the class, under the name that it has in memory.
        (QUARK, drop(r"model\.norm\.weight"), "refuses"),
        (QUARK, drop(r"model\.layers\.1\.mlp\.up_proj\..*"), "refuses"),
        (QUARK, drop(r"model\.layers\.1\.input_layernorm\..*"), "refuses"),
        (QUARK, drop(r"lm_head\.weight"), "refuses"),
        (QUARK, rename(r"(.*\.q_proj)\.weight", r"\1.base_layer.weight"), "refuses"),
        (QUARK, rename(r"model\.(.*)", r"\1"), "refuses"),
        ("drawn/gemma2", steps(_PTPC, ordered), "loads"),
        ("drawn/mistral3", steps(quark((*HEAD, "*vision_tower*", "*projector*")), ordered), "refuses"),
        ("drawn/nemotron_h", steps(quark(HEAD), ordered), "refuses"),
        ("drawn/olmoe", steps(_PTPC, ordered), "loads"),
        ("drawn/qwen2_moe", steps(_PTPC, ordered), "loads"),
        # The gate of a shared expert is a linear layer, a router is not.
        ("drawn/qwen2_moe", steps(_UNLISTED_GATE, ordered), "refuses"),
        ("drawn/qwen2_moe", steps(_UNLISTED_ROUTER, ordered), "loads"),
        # Classes that generate no text.
        (QUARK, set_config(architectures=["LlamaModel"]), "refuses"),
        (QUARK, set_config(architectures=["LlamaForSequenceClassification"]), "refuses"),
        # Weights that were left in high precision: with scales beside them they are cast by value.
        (QUARK, high_precision(r"model\.layers\.0\.mlp\.down_proj"), "refuses"),
        (QUARK_CUSTOM, lambda c: c.block.pop("activation_scheme"), "refuses"),
        (QUARK_CUSTOM, set_block(ignored_layers=["lm_head"]), "loads"),
    ],
)
def test_what_it_builds(base: str, change: Damage, verdict: str) -> None:
    row = _row(base, change)
    assert row.verdict == verdict, row.why


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("reported/excluded-in-fp8/weight_scale/deepseek-v3-quark", "refuses"),
        ("reported/served-mtp/pattern/deepseek-v3-quark", "loads"),
        ("reported/uploads/index-in-folder/quark", "refuses"),
        ("reported/cast-script/config-left/olmo2-quark", "refuses"),
        ("variant/one-layer-uncompressed/llama/quark-ptpc", "silently wrong"),
        ("held/prefix/older/gemma3-quark", "refuses"),
    ],
)
def test_kinds_that_were_loaded(name: str, verdict: str) -> None:
    assert rows(corpus()[name].make())["quark"].verdict == verdict


def _spec(role: str, **keys: Any) -> Damage:
    return lambda checkpoint: checkpoint.block["global_quant_config"][role].update(keys)


def _export(**keys: Any) -> Damage:
    return lambda checkpoint: checkpoint.block["export"].update(keys)


def _unexported(key: str) -> Damage:
    return lambda checkpoint: checkpoint.block["export"].pop(key)


def _beside_the_head(last: str) -> Damage:
    return copied(r"model\.layers\.0\.mlp\.up_proj\.weight_scale", lambda _: f"lm_head.{last}")


_NO_INPUT_SCALES = drop(r".*\.input_scale")


@pytest.mark.parametrize(
    ("base", "change", "verdict"),
    [
        # What is stored is multiplied by its scales, whatever type is declared; inputs are rounded as declared.
        (QWEN2_QUARK, _spec("weight", dtype="fp8_e5m2"), "loads"),
        (QWEN2_QUARK, _spec("weight", dtype="fp8_e9m9"), "refuses"),
        (QWEN2_QUARK, _spec("weight", dtype=None), "refuses"),
        (QWEN2_QUARK, _spec("weight", symmetric=False), "loads"),
        (QWEN2_QUARK, _spec("weight", ch_axis=-2), "loads"),
        (QWEN2_QUARK, _spec("weight", ch_axis=1), "refuses"),
        (QWEN2_QUARK, _spec("weight", qscheme="per_row"), "refuses"),
        (QWEN2_QUARK, _spec("input_tensors", dtype="fp8_e5m2"), "loads"),
        (QWEN2_QUARK, _spec("input_tensors", ch_axis=0), "loads"),
        (QWEN2_QUARK, _spec("input_tensors", symmetric=False), "loads"),
        (QUARK_FP8, _spec("input_tensors", qscheme="per_channel", ch_axis=0), "refuses"),
        (QWEN2_QUARK, set_block(global_quant_config=None), "refuses"),
        (QWEN2_QUARK, lambda c: c.block.pop("export"), "refuses"),
        # Of the export it wants two words, and reads nothing else.
        (QUARK_FP8, _export(weight_format=None), "loads"),
        (QUARK_FP8, _export(weight_format="packed"), "loads"),
        (QUARK_FP8, _export(weight_format="fake_quantized"), "refuses"),
        (QUARK_FP8, _unexported("weight_format"), "refuses"),
        (QUARK_FP8, _unexported("pack_method"), "refuses"),
        (QUARK_FP8, _unexported("min_kv_scale"), "loads"),
        (QUARK_KV, _export(kv_cache_group="*"), "loads"),
        (QUARK_KV, _export(kv_cache_group="*k_proj"), "loads"),
        (QUARK_KV, _export(kv_cache_group={"*k_proj": {}}), "loads"),
        # The fp8 mode: no blocks, and any word but dynamic is static.
        (QUARK_CUSTOM, set_block(weight_block_size=[128, 128]), "loads"),
        (QUARK_CUSTOM, set_block(activation_scheme="DYNAMIC"), "loads"),
        (QUARK_CUSTOM, set_block(activation_scheme="tokens"), "loads"),
        (QUARK_CUSTOM, steps(set_block(activation_scheme="DYNAMIC"), _NO_INPUT_SCALES), "refuses"),
        (QUARK_CUSTOM, steps(set_block(activation_scheme="tokens"), _NO_INPUT_SCALES), "refuses"),
        (QUARK_CUSTOM, set_block(activation_scheme=None), "silently wrong"),
        (QUARK_CUSTOM, steps(set_block(activation_scheme=None), _NO_INPUT_SCALES), "loads"),
        (QUARK_CUSTOM, _unexported("kv_cache_group"), "refuses"),
        # Ends of names are numbers.
        (QUARK, rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv"), "refuses"),
        (
            QUARK,
            _beside_the_head("weight_scale_inv"),
            "refuses",
        ),
        (QUARK, _beside_the_head("weight_scale_2"), "loads"),
        # A single value has one dimension at most.
        (CUSTOM_KV, shape(r".*\.k_scale", 1), "loads"),
        (CUSTOM_KV, shape(r".*\.k_scale", 1, 1), "refuses"),
        (CUSTOM_KV, shape(r".*\.v_scale", 1, 1), "loads"),
        (QUARK_KV, shape(r".*\.output_scale", 1, 1), "refuses"),
        # Plain tensors keep their types, and a plain layer gets what embedding and norms make together.
        (QUARK, stored_as(r"model\.embed_tokens\.weight", "F16"), "refuses"),
        (QUARK, stored_as(r".*norm\.weight", "F32"), "refuses"),
        (QUARK, stored_as(r"lm_head\.weight", "F16"), "refuses"),
        (QUARK, stored_as(r"(lm_head|model\.embed_tokens|.*norm)\.weight", "F16"), "loads"),
        # The names that Quark gives experts are those that it looks for.
        (MIXTRAL_QUARK, lambda c: None, "loads"),
    ],
)
def test_what_it_makes_of_configs_and_names(base: str, change: Damage, verdict: str) -> None:
    row = _row(base, change)
    assert row.verdict == verdict, row.why


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        # No class is guessed, and no model type.
        ("crossed/variant/unnamed/held-model-seed_oss-quark", "refuses"),
        ("crossed/config/model-type-missing/qwen3_moe-quark-ptpc-experts-quark", "refuses"),
        ("crossed/served-name/language-model/held-model-seed_oss-quark", "refuses"),
        # A head that nothing stores, and no config ties.
        ("crossed/missing/head/qwen3-vl-quark", "refuses"),
        # What a router needs beside it has another name in memory.
        ("crossed/served-mtp/not-listed/exaone_moe", "refuses"),
        # No layers that predict are built.
        ("crossed/mtp/of-a-dense-model/held-model-ernie4_5-fp8", "loads"),
        # Codes that were cast by value are multiplied by their scales all the same.
        ("crossed/raw-cast/all-left/qwen3_moe-quark-ptpc-experts", "loads"),
        ("crossed/defect/CK403/llama-quark-fp8-kv-post-rope-quark", "silently wrong"),
    ],
)
def test_kinds_of_a_fourth_set(name: str, verdict: str) -> None:
    row = rows(corpus()[name].make())["quark"]
    assert row.verdict == verdict, row.why


def test_which_copy_counts_nobody_knows() -> None:
    assert rows(corpus()["held/files/stored-twice-otherwise/quark"].make())["quark"].verdict == "unknown"


def _row(base: str, change: Damage) -> MatrixRow:
    """What is said of a fixture, or of a small model, once it is changed."""
    folder, _, model = base.partition("/")
    checkpoint = model_of(model) if folder == "drawn" else load(base)
    change(checkpoint)
    return rows(checkpoint.to_files())["quark"]
