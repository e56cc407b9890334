"""What Quark's importer makes of checkpoints that lack something that it builds, or hold more: kinds of a third
held-out set, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import HEAD, ordered, quark
from tests.accuracy.corpus import corpus
from tests.accuracy.verdicts import rows
from tests.damage import QUARK, QUARK_CUSTOM, Damage, drop, high_precision, load, rename, set_block, set_config, steps

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
    folder, _, model = base.partition("/")
    checkpoint = model_of(model) if folder == "drawn" else load(base)
    change(checkpoint)
    row = rows(checkpoint.to_files())["quark"]
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
