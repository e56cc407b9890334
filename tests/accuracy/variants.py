"""One kind of fault in many variants, formats and architectures, on which hangs what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.accuracy.again.hub import channels
from tests.accuracy.held.common import stored_as
from tests.accuracy.plain import dequantized, tensors_in
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    Damage,
    MutableCheckpoint,
    drop,
    exactly,
    f32,
    high_precision,
    left_alone,
    put,
    rename,
    set_block,
    set_config,
    skip,
    steps,
)

PHI3, VL, VL_KV = "phi3/llmcompressor-dynamic", "qwen2_5_vl/llmcompressor-dynamic", "qwen2_5_vl/llmcompressor-fp8-kv"
MODELOPT, PLAIN_BLOCK = "llama/modelopt-fp8", "llama-block-aligned/transformers-block"
_LAST = "model.layers.0.mlp.down_proj"


class Variant(NamedTuple):
    """A fixture, or a small model ("drawn/..."), after a change.

    ``own``: what it means is told by its own files, and not by the fixture's.
    """

    name: str
    fixture: str
    change: Damage
    own: bool = False


def _without(key: str, *, groups: bool = False) -> Damage:
    """A key of a config goes, or of the groups of a compressed-tensors config."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for place in checkpoint.block["config_groups"].values() if groups else [checkpoint.block]:
            place.pop(key, None)

    return change


def _without_type(checkpoint: MutableCheckpoint) -> None:
    for group in checkpoint.block["config_groups"].values():
        group["weights"].pop("type", None)


def _no_format_at_all(checkpoint: MutableCheckpoint) -> None:
    _without("format")(checkpoint)
    _without("format", groups=True)(checkpoint)


def _first_layer_plain(checkpoint: MutableCheckpoint) -> None:
    """Weights of the first layer in BF16 beside their scales."""
    other = tensors_in(dequantized(checkpoint.to_files()))["model.safetensors"]
    for name in checkpoint.names(r"model\.layers\.0\..*_proj\.weight"):
        checkpoint.change(exactly(name), lambda t, n=name: other[n])  # type: ignore[misc]


def _lists(change: Callable[[list[str]], list[str]]) -> Damage:
    return lambda checkpoint: checkpoint.block.update(ignore=change(checkpoint.block["ignore"]))


def _side_file_gone(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files.pop("hf_quant_config.json")


def _config_keys() -> Iterator[Variant]:
    """CK618, CK623."""
    changes: dict[str, Damage] = {
        "status-frozen": set_block(quantization_status="frozen"),
        "status-gone": _without("quantization_status"),
        "format-gone": _no_format_at_all,
        "format-of-groups-gone": _without("format", groups=True),
        "format-of-the-whole-gone": _without("format"),
        "type-gone": _without_type,
        "method-gone": _without("quant_method"),
        "method-in-capitals": set_block(quant_method="Compressed-Tensors"),
        "version-gone": _without("version"),
    }
    for fixture in (CT, MOE, PHI3, BLOCK, VL):
        for name, change in changes.items():
            yield Variant(f"{name}/{fixture}", fixture, change)
    odd: dict[str, Any] = {"empty": {}, "text": "fp8", "list": [], "method-null": {"quant_method": None}}
    for name, value in odd.items():
        yield Variant(f"config-{name}", CT, set_config(quantization_config=value))


def _scale_names() -> Iterator[Variant]:
    """CK203, CK208, CK621."""
    inverse = ("weight_scale", "weight_scale_inv")
    for fixture in (CT, MOE, PHI3, QUARK, MODELOPT, BLOCK, QUARK_CUSTOM, "mixtral/llmcompressor-dynamic", VL):
        yield Variant(f"weight_scale_inv/{fixture}", fixture, rename(rf"(.*)\.{inverse[0]}", rf"\1.{inverse[1]}"))
    for fixture in (PLAIN_BLOCK, "qwen3_moe/transformers-block"):
        yield Variant(f"weight_scale/{fixture}", fixture, rename(rf"(.*)\.{inverse[1]}", rf"\1.{inverse[0]}"))
    for fixture in (CT_FP8, MODELOPT, QUARK_FP8):
        yield Variant(f"activation_scale/{fixture}", fixture, rename(r"(.*)\.input_scale", r"\1.activation_scale"))
    yield Variant(f"scale/{CT}", CT, rename(r"(.*)\.weight_scale", r"\1.scale"))
    for fixture in (CT, QUARK, MODELOPT):
        one = rename(r"(model\.layers\.1\.mlp\.down_proj)\.weight_scale", r"\1.weight_scale_inv")
        yield Variant(f"one-weight_scale_inv/{fixture}", fixture, one)


def _left_over() -> Iterator[Variant]:
    """CK208, CK602, CK626."""
    for fixture in (CT, QUARK, MODELOPT, PLAIN_BLOCK):
        yield Variant(f"qweight-left/{fixture}", fixture, put(f"{_LAST}.qweight", "I32", (8, 64), bytes(2048)))
        yield Variant(f"packed-left/{fixture}", fixture, put(f"{_LAST}.weight_packed", "U8", (32, 32), bytes(1024)))
        yield Variant(f"zero-left/{fixture}", fixture, put(f"{_LAST}.weight_zero_point", "BF16", (1,), bytes(2)))
        yield Variant(f"global-left/{fixture}", fixture, put(f"{_LAST}.weight_global_scale", "F32", (1,), f32(1.0)))
        yield Variant(f"one-layer-uncompressed/{fixture}", fixture, _first_layer_plain)


def _skip_lists() -> Iterator[Variant]:
    """CK605, CK612: under which name an engine asks."""
    for fixture in (VL, VL_KV):
        kind = fixture.partition("/")[2]
        other = _lists(lambda listed: [entry.replace("visual.", "model.visual.") for entry in listed])
        yield Variant(f"tower-by-another-name/{kind}", fixture, other)
        yield Variant(f"tower-by-pattern/{kind}", fixture, _lists(lambda listed: ["lm_head", "re:.*visual.*"]))
        yield Variant(f"tower-not-listed/{kind}", fixture, _lists(lambda listed: ["lm_head"]))
    parts = [left_alone(f"model.layers.0.self_attn.{part}_proj") for part in "qkv"]
    yield Variant("fused-name-too", CT, steps(*parts, skip("model.layers.0.self_attn.qkv_proj")), own=True)
    yield Variant("parts-of-a-fused-layer/quark", QUARK, steps(*parts), own=True)
    plain = high_precision(r"model\.layers\.\d+\.mlp\.down_proj")
    yield Variant("glob/quark", QUARK, steps(plain, skip("*mlp.down_proj")), own=True)
    yield Variant("pattern/quark", QUARK, steps(plain, skip("re:.*mlp.down_proj")), own=True)
    yield Variant("glob/compressed-tensors", CT, steps(plain, skip("*mlp.down_proj")), own=True)
    yield Variant("without-model", CT, steps(high_precision(exactly(_LAST)), skip("layers.0.mlp.down_proj")), own=True)
    for name, entry in (("glob", "*mlp.down_proj"), ("part", "mlp.down_proj")):
        yield Variant(f"{name}/modelopt", MODELOPT, steps(_side_file_gone, plain, skip(entry)), own=True)


def of_meta(checkpoint: MutableCheckpoint) -> None:
    """The names that Meta gives modules, behind the usual prefix."""
    layer = r"(model\.layers\.\d+)"
    for part in "qkvo":
        rename(rf"{layer}\.self_attn\.{part}_proj\.(.*)", rf"\1.attention.w{part}.\2")(checkpoint)
    for part, other in (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3")):
        rename(rf"{layer}\.mlp\.{part}\.(.*)", rf"\1.feed_forward.{other}.\2")(checkpoint)
    rename(rf"{layer}\.input_layernorm\.weight", r"\1.attention_norm.weight")(checkpoint)
    rename(rf"{layer}\.post_attention_layernorm\.weight", r"\1.ffn_norm.weight")(checkpoint)


def layer_beyond(checkpoint: MutableCheckpoint) -> None:
    """The second layer's norm once more, as a third layer's."""
    name = "model.layers.1.input_layernorm.weight"
    next(iter(checkpoint.shards.values()))[name.replace("1", "2")] = checkpoint.get(name)


def gone(*keys: str) -> Damage:
    """Keys of config.json go."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for key in keys:
            checkpoint.config.pop(key, None)

    return change


def _by_class() -> Iterator[Variant]:
    """What hangs on the model class: layers that are counted, names, types of scales of a cache, adapters."""
    adapter = put("model.layers.0.self_attn.q_proj.lora_A.weight", "BF16", (4, 64), bytes(512))
    for fixture in (CT, MOE, QUARK):
        yield Variant(f"adapter-left-over/{fixture}", fixture, adapter)
    for fixture in (CT, MOE, BLOCK, VL):
        yield Variant(f"groups-empty/{fixture}", fixture, lambda c: c.block.update(config_groups={}))
    for fixture in (VL_KV, CT_KV):
        for code in ("F32", "F16"):
            yield Variant(f"cache-in-{code}/{fixture}", fixture, stored_as(r".*\.[kv]_scale", code))
    for fixture in (CT, "qwen2/llmcompressor-dynamic"):
        yield Variant(f"names-of-meta/{fixture}", fixture, of_meta)
    for name, keys in (("model-type-gone", ("model_type",)), ("length-gone", ("original_max_position_embeddings",))):
        yield Variant(f"{name}/{PHI3}", PHI3, gone(*keys))
    yield Variant(f"both-gone/{PHI3}", PHI3, gone("original_max_position_embeddings", "model_type"))
    yield Variant(f"base-model/{CT}", CT, steps(set_config(architectures=["LlamaModel"]), drop("lm_head.weight")), True)
    for model in ("dots1", "deepseek_v3"):
        yield Variant(f"layer-beyond/{model}", f"drawn/{model}", steps(channels(("lm_head",)), layer_beyond), True)
    prediction = put("mtp.layers.0.input_layernorm.weight", "BF16", (64,), bytes(128))
    for name, change in (("none", gone()), ("stored", prediction), ("said", set_config(mtp_num_hidden_layers=1))):
        yield Variant(f"prediction-{name}/qwen3_next", "drawn/qwen3_next", steps(channels(("lm_head",)), change), True)
    elsewhere = rename(r"(.*)\.mlp\.(experts\..*)", r"\1.moe.\2")
    yield Variant("experts-elsewhere/olmoe", "drawn/olmoe", steps(channels(("lm_head",)), elsewhere), True)


VARIANTS = (*_config_keys(), *_scale_names(), *_left_over(), *_skip_lists(), *_by_class())
