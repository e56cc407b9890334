"""Verdicts that hang on what an engine has, and not on a defect: each was run, or read in the engine's source."""

from __future__ import annotations

import pytest

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.engines.base import Engine
from ckptkit.engines.dialects import is_among
from ckptkit.engines.judging import judge
from ckptkit.engines.layers import Layer
from ckptkit.engines.registry import by_name, engines
from ckptkit.engines.releases import Release
from ckptkit.engines.support import Answer, Part, Support, parts_of
from ckptkit.formats import registry
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Quantization
from ckptkit.views.matrix import Matrix, build_matrix
from tests.damage import CT, CT_KV, MOE, MutableCheckpoint, load
from tests.engines.schemes import SCHEMES, Scheme
from tests.rules.case import context_of


def matrix_of(checkpoint: MutableCheckpoint) -> Matrix:
    context = context_of(checkpoint)
    return build_matrix(context, runner.run(context, Level.SCALES))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_schemes(scheme: Scheme) -> None:
    checkpoint = load(scheme.base)
    scheme.change(checkpoint)
    found = {row.engine: row for row in matrix_of(checkpoint).rows}
    assert {engine: found[engine].verdict for engine in scheme.verdicts} == scheme.verdicts


def test_a_refusal_says_what_and_in_the_engines_words() -> None:
    scheme = next(scheme for scheme in SCHEMES if scheme.name == "experts by tensor, inputs by token")
    checkpoint = load(scheme.base)
    scheme.change(checkpoint)
    rows = {row.engine: row for row in matrix_of(checkpoint).rows}
    (vllm,) = rows["vllm"].parts["refused"]
    assert vllm == "experts with per-tensor weights and dynamic per-token inputs: AssertionError without a message"
    (trtllm,) = rows["trtllm"].parts["refused"]
    assert trtllm.startswith("experts, fused linear layers, linear layers with per-tensor weights")
    assert "Unsupported weights_quant_strategy" in trtllm


def test_what_no_table_says_is_unknown() -> None:
    checkpoint = load(CT)
    checkpoint.config |= {"architectures": ["NobodyKnowsForCausalLM"], "model_type": "nobody_knows"}
    for row in matrix_of(checkpoint).rows:
        if row.engine == "sglang":
            # Whatever serves the class takes no targets by class.
            assert row.verdict == "refuses"
        elif row.engine == "transformers":
            assert row.parts["refused"] == ("it knows no model type nobody_knows",)
        elif row.verdict != "does not read":
            assert row.verdict == "unknown"
            assert row.parts["unknown"] == (f"whether {row.label} has NobodyKnowsForCausalLM",)
    checkpoint.config.pop("architectures")
    assert matrix_of(checkpoint).rows[0].verdict == "unknown"
    silent = Engine("new", "New", (Release("1.0", "2026-01"),), reads=frozenset({"compressed-tensors"}))
    read = context_of(load(CT)).checkpoint
    assert read is not None
    assert {judgement.answer.value for judgement in judge(silent, read, "compressed-tensors", "X")} == {"unknown"}


def test_parts_of_a_checkpoint() -> None:
    experts = context_of(load(MOE)).checkpoint
    cached = context_of(load(CT_KV)).checkpoint
    assert experts is not None and cached is not None
    assert {part.layer for part in parts_of(experts)} == {Layer.EXPERT, Layer.FUSED, Layer.LINEAR}
    assert [part.scheme for part in parts_of(cached) if part.layer is Layer.KV_CACHE] == ["static per-tensor scales"]


def test_rows_speak_of_what_exists() -> None:
    """A misspelt kind of granularity would fit nothing, and nobody would notice."""
    weights = {"per-tensor", "per-channel", "per-block", "per-group", "per-head", "per-token"}
    inputs = {
        "none",
        "static per-tensor",
        "static per-token",
        "dynamic per-token",
        "dynamic per-tensor",
        "dynamic per-group",
    }
    known = {dialect.key for dialect in registry.dialects()}
    lent = engines()["transformers"].architectures() or frozenset()  # what others leave to transformers
    for engine in engines().values():
        for row in engine.support():
            assert isinstance(row, Support)
            assert weights.issuperset(row.weights) and inputs.issuperset(row.inputs), (engine.name, row)
            assert known.issuperset(row.formats), (engine.name, row)
            assert all(is_among(key, engine.reads) for key in row.formats), (engine.name, row)
            assert row.how.value == "run" or row.where, (engine.name, row)
            classes = engine.architectures()
            for beginning in row.architectures:
                # A base model is called like the class that has a head.
                stem = beginning.removesuffix("Model")
                named = classes is None or any(name.startswith((beginning, f"{stem}For")) for name in classes | lent)
                assert named, (engine.name, beginning)


def test_a_row_that_no_part_can_reach_is_dead() -> None:
    """An earlier row of the same layers, formats and nothing else would hide it."""
    for engine in engines().values():
        rows = engine.support()
        for number, row in enumerate(rows):
            for earlier in rows[:number]:
                hidden = (
                    row.others == earlier.others
                    and set(row.layers) <= set(earlier.layers)
                    and set(row.formats) <= set(earlier.formats)
                    and (not earlier.weights or (row.weights and set(row.weights) <= set(earlier.weights)))
                    and (not earlier.inputs or (row.inputs and set(row.inputs) <= set(earlier.inputs)))
                    and (not earlier.blocks or row.blocks == earlier.blocks)
                    and (not earlier.groups or row.groups == earlier.groups)
                    and (not earlier.architectures or row.architectures == earlier.architectures)
                    and (row.stored or not earlier.stored)
                    and (row.cut or not earlier.cut)
                    and (row.ragged or not earlier.ragged)
                    and earlier.versions is None
                )
                assert not hidden, (engine.name, row, earlier)


@pytest.mark.parametrize(
    ("engine", "dialect", "layer", "architecture", "answer"),
    [
        ("sglang", "fp8", Layer.HEAD, "LlamaForCausalLM", Answer.SILENT),
        ("sglang", "fp8-block", Layer.EMBEDDING, "Qwen3ForCausalLM", Answer.SILENT),
        ("sglang", "fp8-block", Layer.HEAD, "OlmoeForCausalLM", None),
        ("sglang", "fp8-block", Layer.ROUTER, "Qwen3MoeForCausalLM", Answer.SILENT),
        ("sglang", "modelopt", Layer.HEAD, "OlmoeForCausalLM", Answer.SUPPORTED),
        ("sglang", "modelopt", Layer.EMBEDDING, "LlamaForCausalLM", Answer.SILENT),
        ("vllm", "modelopt", Layer.EMBEDDING, "LlamaForCausalLM", Answer.REFUSED),
    ],
)
def test_layers_beside_the_decoder(
    engine: str, dialect: str, layer: Layer, architecture: str, answer: Answer | None
) -> None:
    """Read in the sources: which layers take no scheme at all, and what a class does with names it does not know."""
    part = Part(layer, Quantization(PerTensor()), Quantization(PerTensor()), "x")
    row = next((row for row in by_name(engine).support() if row.fits(part, dialect, architecture)), None)
    assert (row and row.answer) == answer


def test_an_error_that_a_table_says_nothing_of_leaves_it_open() -> None:
    """Somebody stops, or is wrong; that nobody looked is no reason to say that an engine loads."""
    checkpoint = load(CT)
    checkpoint.drop(r"model\.layers\.0\.self_attn\.q_proj\.weight_scale")
    rows = {row.engine: row for row in matrix_of(checkpoint).rows}
    assert "CK201" not in engines()["trtllm"].outcomes()
    assert (rows["vllm"].verdict, rows["trtllm"].verdict) == ("silently wrong", "unknown")
    assert rows["trtllm"].parts["unknown"] == ("what it makes of CK201",)
