"""What SGLang makes of kinds of checkpoints that reports to it and to tools showed, each beside a near miss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ckptkit.engines.sglang.architectures import ARCHITECTURES
from ckptkit.engines.sglang.cache import DROPS, NOT_ASKED
from tests.accuracy.again.drawn import model_of
from tests.accuracy.again.hub import HEAD, autofp8, channels, modelopt, quark
from tests.accuracy.corpus import corpus, files_of
from tests.accuracy.verdicts import rows
from tests.damage import Damage, MutableCheckpoint, bf16, high_precision, load, opened, set_config

#: Checkpoints of the corpus -> the verdict, as these were loaded.
SEEN = {
    # A stray module beside all of a layer's own parts.
    "crossed/defect/CK628/deepseek-v2-ct": "refuses",
    # Scales of a cache, by class and by where they are stored.
    "reported/kv/usual/glm4": "silently wrong",
    "reported/kv/usual/qwen2": "silently wrong",
    "reported/kv/usual/qwen3": "silently wrong",
    "reported/kv/under-attention/qwen2": "loads",
    "reported/kv/under-attention/qwen3": "silently wrong",
    "reported/kv/on-the-merged/llama-modelopt": "silently wrong",
    "reported/kv/on-the-merged/qwen3": "silently wrong",
    "reported/kv/on-projections/glm4": "silently wrong",
    "reported/served-cache/one-for-both/olmoe-autofp8": "silently wrong",
    "variant/kv-scales/olmoe-ct": "refuses",
    "variant/kv-scales/gemma2-ct": "loads",
    "variant/kv-scales/gemma2-modelopt": "refuses",
    "variant/kv-scales/starcoder2-ct": "silently wrong",
    "variant/kv-scales/starcoder2-modelopt": "refuses",
    "real/llama/modelopt-fp8-kv": "loads",
    "real/phi3/quark-fp8-kv": "silently wrong",
    # All of them are 1.0, which is used anyway.
    "again/hub/glm4-moe/modelopt": "loads",
    # Names of layers inside composite models.
    "reported/served-prefix/as-stored/mistral3-ct": "silently wrong",
    "reported/served-prefix/as-stored/qwen3-vl-quark": "silently wrong",
    "reported/served-prefix/as-stored/qwen3-vl-fp8": "loads",
    "reported/served-prefix/otherwise/mistral3-ct": "silently wrong",
    # Floats that a config calls packed integers.
    "held/config/pack-quantized/qwen3-ct": "loads",
    # Which level of the config ties the head.
    "reported/served-tied/not-said/qwen3-vl-fp8": "silently wrong",
    "reported/served-tied/text-says-so/qwen3-vl-ct": "silently wrong",
    "reported/served-tied/top-says-so/qwen3-vl-ct": "silently wrong",
    "reported/served-tied/top-says-so/mistral3-ct": "loads",
    # The tower is built from the config, the projector plain.
    "reported/projector-in-fp8/mistral3-ct": "refuses",
    "reported/tower-in-fp8/not-listed/mistral3-ct": "loads",
    # Names of q, k and v in a group, and the class of linear layers in another.
    "reported/served-groups/class-first/olmo2": "silently wrong",
    "reported/served-groups/names-first/qwen2_moe": "silently wrong",
    # A model in high precision, and codes in a wider type, under a config of blocks.
    "reported/cast-script/config-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/all-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/all-left/glm4-ct": "loads",
    "reported/raw-cast/scales-left/deepseek-v3-fp8": "refuses",
    "reported/raw-cast/scales-left/glm4-ct": "silently wrong",
    # Names.
    "reported/adapter/base-layer/quark": "silently wrong",
    "reported/native-names/all/deepseek-v3-fp8": "silently wrong",
    "reported/served-name/of-mistral/qwen2-moe-autofp8": "refuses",
    # Experts.
    "reported/abliterated/listed/olmoe-ct": "refuses",
    "reported/served-experts/stacked/granitemoe": "silently wrong",
    "reported/served-experts/stacked/llama4-ct": "silently wrong",
    "reported/uncalibrated/missing/deepseek-v2-autofp8": "loads",
    "reported/uncalibrated/missing/glm4-moe-modelopt": "silently wrong",
    "reported/pruned-experts/bias-whole/glm4-moe-fp8": "refuses",
    # A text is no list of layers, and an object is read by its keys.
    "variant/kv-group/object": "loads",
    "variant/kv-group/star": "refuses",
    "variant/kv-group/text-with-star": "refuses",
    # The language model's own section says another type.
    "reported/dtype/float8/mistral3-fp8": "loads",
    # A scheme of a cache that lacks a key is dropped, and the cache stays in high precision.
    "variant/kv-scheme-without/num_bits": "loads",
    "variant/kv-scheme-without/type": "loads",
    "variant/kv-scheme-without/dynamic": "loads",
    # ModelOpt's list: patterns count over the names of what is built, runs of components over those of its parts.
    "variant/modelopt-list/fused-name": "silently wrong",
    "variant/modelopt-list/last-part-alone": "refuses",
    "variant/modelopt-list/patterns-with-dots": "silently wrong",
    "variant/modelopt-list/patterns-with-dots-in-mlp": "silently wrong",
    # Granite's hybrid, and Falcon-H1.
    "reported/served-experts/stacked/granitemoehybrid": "loads",
    "reported/served-mamba/left-alone/granitemoehybrid": "silently wrong",
    "reported/served-router/in-fp8/granitemoehybrid": "refuses",
    "reported/listed-and-quantized/falcon-h1-ct": "loads",
    # A tower is skipped by name, what connects it stops.
    "reported/tower-in-fp8/listed/mistral3-ct": "silently wrong",
    "crossed/head/embedding-in-fp8/qwen3-llmcompressor-dynamic-quark": "silently wrong",
    "crossed/head/in-fp8-by-name/llama-quark-fp8-attention-quark": "silently wrong",
    "crossed/kv/nan/phi3-quark-fp8-kv-fp8": "silently wrong",
    "crossed/config/section/reported-served-cache-modelopt-minimax-m2": "loads",
    "crossed/tied/said-of-two/qwen3_moe-modelopt-fp8-quark": "loads",
    "crossed/variant/experts-elsewhere/hunyuan_v1_moe": "refuses",
    "crossed/variant/qweight-left/variant-kv-scales-gemma2-ct": "refuses",
    "crossed/variant/nameless-head-modelopt/granitemoe": "silently wrong",
    "crossed/served-mixed/all/qwen3_vl_moe": "refuses",
}


@pytest.mark.parametrize(("name", "verdict"), SEEN.items())
def test_verdicts_on_what_was_loaded(name: str, verdict: str) -> None:
    files = files_of(corpus()[name])
    assert files is not None
    assert rows(files)["sglang"].verdict == verdict


def test_tables_of_the_cache_name_classes_that_there_are() -> None:
    listed = {name for classes in DROPS.values() for name in classes} | set(NOT_ASKED)
    assert {name for name in listed if not any(known.startswith(name) for known in ARCHITECTURES)} == set()
    dropped = {known for known in ARCHITECTURES for classes in DROPS.values() if known.startswith(classes)}
    assert {known for known in dropped if known.startswith(NOT_ASKED)} == set()


def test_a_class_that_nobody_asked_may_drop_scales_of_a_cache() -> None:
    checkpoint = load("llama/llmcompressor-fp8-kv")
    set_config(architectures=["InternVLChatModel"])(checkpoint)
    words = rows(checkpoint.to_files())["sglang"].parts
    assert any("whether the class loads scales" in said for said in words["unknown"])


def _scheme(**keys: Any) -> Damage:
    """Scales of a cache below attention, and a scheme for them; a key that is None is left out."""
    whole = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False, **keys}

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.block["kv_cache_scheme"] = {key: value for key, value in whole.items() if value is not None}
        for layer, part in ((layer, part) for layer in (0, 1) for part in "kv"):
            checkpoint.put(f"model.layers.{layer}.self_attn.{part}_scale", "BF16", (1,), bf16(0.5))

    return change


#: Fixtures whose class drops scales of a cache: only a scheme that is followed makes that wrong.
@pytest.mark.parametrize("fixture", ["qwen3/llmcompressor-dynamic", "qwen2/llmcompressor-dynamic"])
@pytest.mark.parametrize(
    ("keys", "followed"),
    [
        ({}, True),
        ({"symmetric": None}, True),
        ({"dynamic": None}, True),
        ({"num_bits": None}, False),
        ({"type": None}, False),
        ({"strategy": None}, False),
        ({"strategy": "attn_head"}, False),
        ({"dynamic": True}, False),
        ({"type": "FLOAT"}, False),
    ],
)
def test_a_scheme_that_is_not_followed_makes_scales_of_a_cache_harmless(
    fixture: str, keys: dict[str, Any], *, followed: bool
) -> None:
    checkpoint = load(fixture)
    _scheme(**keys)(checkpoint)
    assert rows(checkpoint.to_files())["sglang"].verdict == ("silently wrong" if followed else "loads")


def test_a_name_stops_the_load_whether_or_not_the_scheme_is_followed() -> None:
    checkpoint = model_of("olmo2")
    channels(HEAD)(checkpoint)
    _scheme(num_bits=None)(checkpoint)
    assert rows(checkpoint.to_files())["sglang"].verdict == "refuses"


_QKV = r"model\.layers\.0\.self_attn\.[qkv]_proj"


def _in_lists(*entries: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        key = next((key for key in ("exclude", "ignore", "ignored_layers") if key in checkpoint.block), None)
        key = key or "modules_to_not_convert"
        checkpoint.block[key] = [*(checkpoint.block.get(key) or []), *entries]

    return change


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
@pytest.mark.parametrize(
    "fixture",
    ["llama/modelopt-fp8", "qwen3_moe/modelopt-fp8", "llama/quark-fp8-custom", "qwen3_moe/llmcompressor-dynamic"],
)
def test_a_list_that_names_a_fused_layer_in_part_stops_the_load(engine: str, fixture: str) -> None:
    part, whole = ["model.layers.0.self_attn.v_proj"], [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
    for entries, plain, verdict in ((part, True, "refuses"), (part, False, "refuses"), (whole, True, "loads")):
        checkpoint = load(fixture)
        if plain:
            high_precision(_QKV)(checkpoint)
        _in_lists(*entries)(checkpoint)
        assert rows(checkpoint.to_files())[engine].verdict == verdict, entries


#: Kinds of layers of small models that are left in high precision, the list that names them, and the verdict.
LISTED = [
    # Gemma 2 and Hunyuan pass no name on to their layers, Falcon-H1 none to attention, Grok and others another one.
    ("gemma2", channels, r".*mlp\.down_proj", "model.layers.{}.mlp.down_proj", "silently wrong"),
    ("gemma2", channels, r".*mlp\.down_proj", "re:.*mlp.down_proj", "loads"),
    ("hunyuan_v1_dense", channels, r".*o_proj", "model.layers.{}.self_attn.o_proj", "silently wrong"),
    ("hunyuan_v1_moe", channels, r".*shared_mlp\.down_proj", "re:.*shared_mlp.down_proj", "silently wrong"),
    ("falcon_h1", channels, r".*o_proj", "re:.*o_proj", "silently wrong"),
    ("falcon_h1", channels, r".*feed_forward\.down_proj", "re:.*mlp.down_proj", "loads"),
    ("granitemoehybrid", channels, r".*mamba\.out_proj", "re:.*mixer.out_proj", "loads"),
    ("qwen2_vl", channels, r"model\.layers.*o_proj", "model.layers.{}.self_attn.o_proj", "silently wrong"),
    # q_proj of latent attention is merged with nothing.
    ("deepseek_v2", channels, r".*q_proj", "model.layers.{}.self_attn.q_proj", "loads"),
    # The down projection of a shared expert.
    ("deepseek_v2", channels, r".*shared_experts\.down_proj", "re:.*shared_experts.down_proj", "refuses"),
    # What is stored merged is asked for by the names of its parts.
    ("glm4", autofp8, r".*gate_up_proj", "model.layers.{}.mlp.gate_up_proj", "silently wrong"),
]


@pytest.mark.parametrize(("model", "made", "plain", "entry", "verdict"), LISTED)
def test_names_by_which_classes_ask(
    model: str, made: Callable[..., Damage], plain: str, entry: str, verdict: str
) -> None:
    others = (*HEAD, *(("re:.*(gate|router|router.layer|wg)$",) if made is channels else ()))
    entries = [entry.format(layer) for layer in (0, 1)] if "{}" in entry else [entry]
    checkpoint = model_of(model)
    beside = {"qwen2_vl": "visual", "granitemoehybrid": "block_sparse_moe", "falcon_h1": "mamba"}.get(model)
    tower = (f"re:.*{beside}.*",) if beside is not None else ()
    made((*others, *tower, *entries), but=rf"{plain}|.*router.*{r'|.*mamba.*' if beside == 'mamba' else ''}")(
        checkpoint
    )
    assert rows(checkpoint.to_files())["sglang"].verdict == verdict


@pytest.mark.parametrize("made", [autofp8, modelopt, quark])
def test_granites_hybrid_has_one_format(made: Callable[..., Damage]) -> None:
    checkpoint = model_of("granitemoehybrid")
    made((*HEAD, "model.layers.0.block_sparse_moe.router.layer"))(checkpoint)
    words = rows(checkpoint.to_files())["sglang"].parts["refused"]
    assert any("get_cache_scale" in said for said in words)


def _mixed(checkpoint: MutableCheckpoint) -> None:
    weights = [name for name in checkpoint.names(r".*\.weight") if checkpoint.get(name).dtype == "F8_E4M3"]
    layers = {name.removesuffix(".weight"): {"quant_algo": "FP8"} for name in weights}
    checkpoint.block.update(quant_algo="MIXED_PRECISION", quantized_layers=layers)


@pytest.mark.parametrize(
    ("model", "verdict"),
    [("glm4", "silently wrong"), ("olmo2", "refuses"), ("olmoe", "refuses"), ("mistral3", "refuses")],
)
def test_mixed_precision_of_fp8_alone_is_taken_for_another_quantization(model: str, verdict: str) -> None:
    checkpoint = model_of(model)
    modelopt((*HEAD, "*gate", "*vision_tower*", "*multi_modal*"), where="config")(checkpoint)
    _mixed(checkpoint)
    row = rows(checkpoint.to_files())
    assert row["sglang"].verdict == verdict
    assert "CK604" not in str(row["vllm"].codes)


@pytest.mark.parametrize(
    ("base", "name", "verdict"),
    [
        # A part that the class merges, where it has none: it stops. Other names are skipped, and layers beyond.
        ("again/hub/deepseek-v2/ct", "model.layers.1.mlp.shared_expert.up_proj", "refuses"),
        ("again/hub/deepseek-v2/ct", "model.layers.1.mlp.shared_expert.down_proj", "loads"),
        ("again/hub/deepseek-v2/ct", "model.layers.1.other.q_proj", "loads"),
        ("again/hub/deepseek-v2/ct", "model.layers.2.mlp.shared_expert.up_proj", "loads"),
        ("real/qwen3/llmcompressor-dynamic", "model.layers.1.other.q_proj", "refuses"),
        ("real/qwen3/llmcompressor-dynamic", "layers.1.mlp.shared_expert.gate_proj", "refuses"),
        ("real/qwen3/llmcompressor-dynamic", "model.layers.1.mlp.shared_expert.down_proj", "loads"),
    ],
)
def test_merged_parts_where_a_class_has_none(base: str, name: str, verdict: str) -> None:
    checkpoint = opened(files_of(corpus()[base]))
    checkpoint.block["ignore"].append(name)
    set_config(num_nextn_predict_layers=1)(checkpoint)
    checkpoint.put(f"{name}.weight", "BF16", (64, 64), bytes(8192))
    assert rows(checkpoint.to_files())["sglang"].verdict == verdict


@pytest.mark.parametrize("model", ["granitemoe", "granitemoehybrid"])
@pytest.mark.parametrize(("entries", "verdict"), [((), "silently wrong"), (("re:.*block_sparse_moe.*",), "loads")])
def test_plain_stacks_of_experts(model: str, entries: tuple[str, ...], verdict: str) -> None:
    checkpoint = model_of(model)
    channels((*HEAD, "re:.*router.*", *entries), but=r".*router.*")(checkpoint)
    assert rows(checkpoint.to_files())["sglang"].verdict == verdict
