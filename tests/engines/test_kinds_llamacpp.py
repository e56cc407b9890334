"""What llama.cpp's converter makes of experts under each name, of what routers hold for them, of codes without scales,
and of names that one build has and another not: kinds of a third held-out set, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import HEAD, channels, deepseek
from tests.accuracy.corpus import corpus
from tests.accuracy.reported.merged import _in_one
from tests.accuracy.verdicts import at_release, rows
from tests.damage import QUARK_CUSTOM, Damage, MutableCheckpoint, drop, load, rename, set_config, steps

_OLDER = "b8643"
_CT = channels((*HEAD, "re:.*mlp.gate$", "re:.*block_sparse_moe.gate$", "re:.*shared_expert_gate$"))
_STACKED = steps(_CT, _in_one)


def _with_stacks_of_mixtral(checkpoint: MutableCheckpoint) -> None:
    """The numbered projections of a layer in one tensor each, by the names that Mixtral gives them in memory."""
    rename(r"(.*\.experts\.\d+)\.w1\.(.*)", r"\1.gate_proj.\2")(checkpoint)
    rename(r"(.*\.experts\.\d+)\.w3\.(.*)", r"\1.up_proj.\2")(checkpoint)
    rename(r"(.*\.experts\.\d+)\.w2\.(.*)", r"\1.down_proj.\2")(checkpoint)
    _in_one(checkpoint)


def _shared_twice(checkpoint: MutableCheckpoint) -> None:
    """A shared expert's projection once more, by the name that other models give it."""
    for name in checkpoint.names(r".*\.shared_experts\.up_proj\.weight_scale|.*\.shared_experts\.up_proj\.weight"):
        tensor = checkpoint.get(name)
        checkpoint.put(name.replace("shared_experts", "shared_expert"), tensor.dtype, tensor.shape, tensor.data)


@pytest.mark.parametrize(
    ("model", "change", "verdict", "words"),
    [
        # One tensor for all experts: taken for one of them, or split.
        ("olmoe", _STACKED, "refuses", "Unprocessed experts"),
        ("glm4_moe", _STACKED, "refuses", "Unprocessed experts"),
        ("dots1", steps(deepseek((*HEAD, "mlp.gate")), _in_one), "loads", ""),
        ("deepseek_v3", steps(deepseek((*HEAD, "mlp.gate")), _in_one), "refuses", "Unprocessed experts"),
        (
            "minimax_m2",
            steps(deepseek(HEAD, but=r".*block_sparse_moe.gate.*"), _with_stacks_of_mixtral),
            "silently wrong",
            "the GGUF goes without it",
        ),
        ("granitemoe", steps(channels((*HEAD, "re:.*router.*"), but=r".*router.*")), "loads", ""),
        # Single experts: gathered where the class looks for them, and nowhere else.
        ("olmoe", _CT, "loads", ""),
        (
            "minimax_m2",
            steps(_CT, rename(r"(.*)\.block_sparse_moe\.(experts.*)", r"\1.mlp.\2")),
            "refuses",
            "Can not map",
        ),
        # As many of everything as the metadata says.
        ("minimax_m2", _CT, "loads", ""),
        ("minimax_m2", steps(_CT, set_config(num_local_experts=2)), "silently wrong", "the metadata says 2"),
        ("ernie4_5_moe", _CT, "loads", ""),
        # Keys of the config that a class has no default for, and a second tensor of one name.
        ("cohere2", channels(HEAD), "refuses", "rotary_pct"),
        ("cohere2", steps(channels(HEAD), set_config(rotary_pct=1.0)), "loads", ""),
        ("hunyuan_v1_moe", steps(channels((*HEAD, "re:.*gate.wg$")), set_config(moe_topk=2)), "refuses", "a list of"),
        ("deepseek_v3", steps(_CT, _shared_twice), "refuses", "Duplicated tensor name"),
    ],
)
def test_experts(model: str, change: Damage, verdict: str, words: str) -> None:
    checkpoint = model_of(model)
    change(checkpoint)
    row = rows(checkpoint.to_files())["llamacpp"]
    assert (row.verdict, words in " ".join(row.why)) == (verdict, True), row.why


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        # ModelOpt's other algorithms over FP8, and blocks of a made-up scheme, whose codes are not all of the largest.
        ("variant/algorithm-NVFP4-over-fp8/qwen3_moe/modelopt-fp8", "loads"),
        ("variant/algorithm-W4A16_NVFP4-over-fp8/llama/modelopt-fp8", "loads"),
        ("variant/modelopt-side-file/weight-only-nvfp4", "loads"),
        # A scale of inputs in another quantization, which nothing asks for, and a scale of weights.
        ("defect/CK209-3", "loads"),
        ("defect/CK209-2", "silently wrong"),
        ("scheme/blocks-in-a-layer-that-is-stored-merged", "loads"),
        ("real/llama/quark-fp8-custom", "refuses"),
        ("crossed/served-name/of-mistral/held-model-mistral-fp8", "loads"),
        ("crossed/defect/CK628/deepseek-v2-ct", "refuses"),
        ("reported/served-experts/apart/llama4-ct", "refuses"),
        ("reported/served-experts/stacked/llama4-ct", "refuses"),
        ("reported/served-experts/stacked-plain/llama4-ct", "loads"),
        ("reported/pruned-experts/bias-whole/glm4-moe-fp8", "silently wrong"),
        ("reported/pruned-experts/sound/glm4-moe-fp8", "loads"),
        ("reported/pruned-experts/not-said/minimax-m2-fp8", "silently wrong"),
        ("reported/pruned-experts/not-said/glm4-moe-fp8", "refuses"),
        ("reported/served-mtp/said-alone/exaone-moe-fp8", "silently wrong"),
        ("reported/served-mtp/said-alone/minimax-m2-fp8", "loads"),
        ("again/mtp/own-part-plain/qwen3-next-fp8", "silently wrong"),
        # Codes and values: what is cast as it is, what was multiplied, and what has lost its scales.
        ("reported/saved-as-fp8/all/olmo2", "loads"),
        ("reported/saved-as-fp8/declared/olmo2", "loads"),
        ("reported/raw-cast/all-left/glm4-ct", "loads"),
        ("reported/raw-cast/nothing-left/glm4-ct", "silently wrong"),
        ("reported/cast-script/config-left/olmo2-quark", "does not read"),
    ],
)
def test_kinds_that_were_loaded(name: str, verdict: str) -> None:
    assert rows(corpus()[name].make())["llamacpp"].verdict == verdict


@pytest.mark.parametrize("declared", [True, False])
def test_codes_that_lost_all_scales_are_no_values(declared: bool) -> None:
    checkpoint = model_of("olmo2")
    steps(deepseek(HEAD), drop(r".*_scale_inv"), set_config(**({} if declared else {"quantization_config": None})))(
        checkpoint
    )
    assert rows(checkpoint.to_files())["llamacpp"].verdict == "silently wrong"


def test_names_decide_and_not_who_wrote_the_config() -> None:
    checkpoint = load(QUARK_CUSTOM)
    rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")(checkpoint)
    rename(r"(.*)\.input_scale", r"\1.activation_scale")(checkpoint)
    assert rows(checkpoint.to_files())["llamacpp"].verdict == "loads"


def test_names_that_a_newer_build_has() -> None:
    checkpoint = model_of("glm4")
    steps(channels(HEAD), rename(r"(.*)\.self_attn\.(.*)", r"\1.attention.\2"))(checkpoint)
    files = checkpoint.to_files()
    assert rows(files)["llamacpp"].verdict == "loads"
    with at_release("llamacpp", _OLDER, {}):
        assert rows(files)["llamacpp"].verdict == "refuses"


def test_a_size_of_heads_that_is_not_said_is_that_of_the_model_type() -> None:
    """What transformers' config class takes for it is written into the metadata."""
    said = {f"variant/head-dim-gone/{name}/llmcompressor-dynamic" for name in ("llama", "qwen3")}
    assert {rows(corpus()[name].make())["llamacpp"].verdict for name in said} == {"silently wrong"}
    assert rows(corpus()["held/config/head-dim-missing/qwen2-ct"].make())["llamacpp"].verdict == "loads"
