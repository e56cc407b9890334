"""The modules that a class has: strangers stop vLLM, what is absent stays as it was allocated."""

from __future__ import annotations

import pytest

from ckptkit.engines.base import Known, Outcome
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.vllm.modules import MODULES
from tests.damage import CT, MOE, REAL, Damage, MutableCheckpoint, drop, load, put, rename
from tests.engines.test_support import matrix_of
from tests.rules.case import context_of

FIXTURES = sorted(str(path.parent.relative_to(REAL)) for path in REAL.glob("*/*/config.json"))


def _vllm(base: str, *changes: Damage) -> tuple[str, dict[str, tuple[str, ...]]]:
    checkpoint = load(base)
    for change in changes:
        change(checkpoint)
    row = next(row for row in matrix_of(checkpoint).rows if row.engine == "vllm")
    return row.verdict, row.parts


@pytest.mark.parametrize("fixture", [name for name in FIXTURES if "mixtral/quark" not in name])
def test_real_exports_have_what_their_class_has(fixture: str) -> None:
    context = context_of(load(fixture))
    known = MODULES.get(context.dimensions.architecture or "")
    if known is not None and not known.open:  # of an open class only what it lacks is known, whatever is exported
        modules = dict.fromkeys(tensor.module for tensor in context.container.tensors.values())
        tied = context.config.get("tie_word_embeddings") is True
        assert known.stranger(modules, context.dimensions.layers) is None
        assert known.absent(modules, context.dimensions.layers, tied=tied) is None


@pytest.mark.parametrize("layers", [3, 10**13])
def test_the_first_layer_that_is_absent_is_found_however_many_are_promised(layers: int) -> None:
    context = context_of(load(CT))
    known = MODULES[context.dimensions.architecture or ""]
    modules = dict.fromkeys(tensor.module for tensor in context.container.tensors.values())
    absent = known.absent(modules, layers, tied=False)
    assert absent is not None
    assert absent.startswith(f"model.layers.{context.dimensions.layers}.")


def test_a_module_that_the_class_lacks_stops_vllm() -> None:
    tower = put("visual.blocks.0.attn.proj.weight", "BF16", (64, 64), bytes(8192))
    verdict, parts = _vllm(CT, tower)
    assert (verdict, parts["refused"]) == ("refuses", ("LlamaForCausalLM has no module visual.blocks.0.attn.proj",))
    beyond = rename(r"model\.layers\.1\.(.*)", r"model.layers.7.\1")
    assert "has no module model.layers.7." in _vllm(CT, beyond)[1]["refused"][0]
    assert _vllm(CT)[0] == "loads"


def test_a_module_that_is_absent_stays_as_it_was_allocated() -> None:
    verdict, parts = _vllm(CT, drop(r"model\.norm\.weight"))
    assert (verdict, parts["silently wrong"]) == ("silently wrong", ("nothing fills model.norm, and nobody looks",))
    assert _vllm(CT, drop(r"model\.layers\.0\.self_attn\.v_proj\..*"))[0] == "silently wrong"


def test_an_unquantized_checkpoint_is_judged_by_its_class() -> None:
    assert _vllm("llama/bf16")[0] == "loads"

    def other(checkpoint: MutableCheckpoint) -> None:
        checkpoint.config["architectures"] = ["NobodyKnowsForCausalLM"]

    assert _vllm("llama/bf16", other)[0] == "unknown"


def test_a_row_may_hold_for_one_kind_of_layer() -> None:
    assert layer_of("model.layers.0.mlp.experts.0.up_proj") is Layer.EXPERT
    assert _vllm(MOE, lambda c: c.config.update(moe_intermediate_size=48))[0] == "silently wrong"
    assert _vllm(CT, lambda c: c.config.update(intermediate_size=96))[0] == "refuses"
    assert Known(Outcome.ERROR).layers == ()
