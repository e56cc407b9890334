"""One kind of fault in many variants, formats and architectures, on which hangs what it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.accuracy.again.hub import autofp8, channels, modelopt, ordered, quark
from tests.accuracy.held.common import stored_as
from tests.accuracy.neighbours import NEIGHBOURS
from tests.accuracy.plain import dequantized, tensors_in
from tests.accuracy.spellings import SPELLINGS
from tests.damage import (
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
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
_LAST, _SIDE = "model.layers.0.mlp.down_proj", "hf_quant_config.json"
_BLOCKS = "llama-block-aligned/modelopt-block"


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
    checkpoint.files.pop(_SIDE)


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


def in_config(checkpoint: MutableCheckpoint) -> None:
    """ModelOpt's own layout in config.json, and no file beside it."""
    side = json.loads(checkpoint.files.pop(_SIDE))
    checkpoint.config["quantization_config"] = {"quant_method": "modelopt", **side}


def in_config_twice(checkpoint: MutableCheckpoint) -> None:
    """The same with its list where a flat config has it, too."""
    in_config(checkpoint)
    checkpoint.block["ignore"] = checkpoint.block["quantization"]["exclude_modules"]


def in_file(checkpoint: MutableCheckpoint) -> None:
    """ModelOpt's own layout in its own file, and nothing in config.json."""
    del checkpoint.config["quantization_config"]


def flat_in_file(checkpoint: MutableCheckpoint) -> None:
    """The layout of config.json in the file beside it, and nothing in config.json."""
    checkpoint.files[_SIDE] = json.dumps(checkpoint.config.pop("quantization_config")).encode()


def _listed_in_own_layout(*entries: str) -> Damage:
    """The list of ModelOpt's own layout, in its own file."""

    def change(checkpoint: MutableCheckpoint) -> None:
        side = json.loads(checkpoint.files[_SIDE])
        side["quantization"]["exclude_modules"] = list(entries)
        checkpoint.files[_SIDE] = json.dumps(side).encode()

    return change


def _places() -> Iterator[Variant]:
    """CK605, CK607, CK608: one config in the places that ModelOpt's has, with lists that readers take otherwise."""
    places = {
        "in-config": in_config,
        "in-config-twice": in_config_twice,
        "in-file": in_file,
        "flat-in-file": flat_in_file,
    }
    lists = {
        "as-exported": None,
        "head-misspelt": ("lm_hea",),
        "head-only": ("lm_head",),
        "none": (),
        "glob": ("lm_head", "*.mlp.down_proj"),
        "part": ("lm_head", "mlp.down_proj"),
        "fused": ("lm_head", "model.layers.*.self_attn.qkv_proj"),
    }
    plain = {
        "glob": high_precision(r"model\.layers\.\d+\.mlp\.down_proj"),
        "part": high_precision(r"model\.layers\.\d+\.mlp\.down_proj"),
        "fused": high_precision(r"model\.layers\.\d+\.self_attn\.[qkv]_proj"),
    }
    for place, move in places.items():
        for name, entries in lists.items():
            listed = [] if entries is None else [_listed_in_own_layout(*entries)]
            if place == "flat-in-file" and entries is not None:
                listed = [set_block(ignore=list(entries))]
            change = steps(*([plain[name]] if name in plain else []), *listed, move)
            yield Variant(f"{place}/{name}/{MODELOPT}", MODELOPT, change, own=name in plain)
        for fixture in ("llama/modelopt-fp8-kv", "llama/modelopt-channel", "qwen3_moe/modelopt-fp8"):
            yield Variant(f"{place}/as-exported/{fixture}", fixture, move)
        yield Variant(f"{place}/as-exported/{_BLOCKS}", _BLOCKS, move)


def _names_of_classes() -> Iterator[Variant]:
    """CK605, CK608: entries under stored names, under the engine's own, and patterns that are mapped to neither."""
    for base, stored, own, parts in (
        ("nemotron_h", "backbone.layers.0.mixer", "model.layers.0.mixer", r".*layers\.0\.mixer\..*"),
        ("lfm2", "model.layers.0.conv", "model.layers.0.short_conv", r".*\.conv\.\w+"),
    ):
        for kind, module in (("stored", stored), ("own", own)):
            names = ("lm_head", f"{module}.in_proj", f"{module}.out_proj")
            regex = ("lm_head", f"re:{module}\\..*")
            glob = ("lm_head", f"{module}*")
            changes = {
                "ct": channels(names, but=parts),
                "ct-pattern": channels(regex, but=parts),
                "quark": quark(names, but=parts),
                "fp8": autofp8(names, but=parts),
                "modelopt": modelopt(glob, but=parts, where="config"),
            }
            # One of these was held out.
            if module == "model.layers.0.mixer":
                del changes["modelopt"]
            for name, change in changes.items():
                yield Variant(f"listed-by-{kind}-name/{base}-{name}", f"drawn/{base}", steps(change, ordered), own=True)
    inner = modelopt(("lm_head", "*backbone.layers.0.mixer*"), but=r".*layers\.0\.mixer\..*", where="config")
    yield Variant("listed-in-the-middle/nemotron_h", "drawn/nemotron_h", steps(inner, ordered), own=True)


def _modelopt_lists() -> Iterator[Variant]:
    """CK605, CK606, CK608: what parts of names and patterns mean of fused layers, and entries that mean everything."""
    attention, mlp = r"model\.layers\.\d\.self_attn\.[qkv]_proj", r"model\.layers\.\d\.mlp\.(gate|up)_proj"
    for name, plain, entries in (
        ("parts-of-names", attention, ("q_proj", "k_proj", "v_proj")),
        ("last-part-alone", attention, ("v_proj",)),
        ("patterns-with-dots", attention, ("*.q_proj", "*.k_proj", "*.v_proj")),
        ("patterns", mlp, ("*gate_proj", "*up_proj")),
        ("patterns-with-dots-in-mlp", mlp, ("*.gate_proj", "*.up_proj")),
        ("fused-name", attention, ("self_attn.qkv_proj",)),
        ("last-star", r"model\.layers\.1\.mlp\.\w+_proj", ("layers.1.mlp*",)),
    ):
        change = steps(_side_file_gone, high_precision(plain), skip("lm_head", *entries))
        yield Variant(f"modelopt-list/{name}", MODELOPT, change, own=True)
    for name, entry in (("empty-text", ""), ("star", "*"), ("blank", " ")):
        yield Variant(f"modelopt-list/{name}", MODELOPT, steps(_side_file_gone, skip("lm_head", entry)))
        side = _in_side_file(exclude_modules=["lm_head", entry])
        yield Variant(f"modelopt-list-in-side-file/{name}", MODELOPT, side)
    side = steps(high_precision(r".*\.down_proj"), _in_side_file(exclude_modules=["lm_head", "*mlp.down_proj"]))
    yield Variant("modelopt-list-in-side-file/pattern", MODELOPT, side, own=True)


def _in_side_file(producer: str = "modelopt", **section: Any) -> Damage:
    """No config but ModelOpt's second file, with other values."""

    def change(checkpoint: MutableCheckpoint) -> None:
        document = json.loads(checkpoint.files[_SIDE])
        document["quantization"].update(section)
        document["producer"]["name"] = producer
        checkpoint.files[_SIDE] = json.dumps(document).encode()
        checkpoint.config.pop("quantization_config", None)

    return change


def _nested(producer: str = "modelopt", method: str | None = None, **section: Any) -> Damage:
    """The second file's config in config.json."""

    def change(checkpoint: MutableCheckpoint) -> None:
        _in_side_file(producer, **section)(checkpoint)
        document = json.loads(checkpoint.files.pop(_SIDE))
        checkpoint.config["quantization_config"] = {**document, **({"quant_method": method} if method else {})}

    return change


def _producers() -> Iterator[Variant]:
    """CK623: whose nested config, and with which algorithm."""
    mxfp8 = "llama-block-aligned/modelopt-mxfp8"
    for place, change in (("side-file", _in_side_file), ("nested", _nested)):
        yield Variant(f"modelopt-{place}/another-producer", MODELOPT, change("somebody"))
        yield Variant(f"modelopt-{place}/weight-only-nvfp4", MODELOPT, change(quant_algo="W4A16_NVFP4"))
        yield Variant(f"modelopt-{place}/mxfp8", mxfp8, change(), own=True)
    yield Variant("modelopt-nested/another-producer-and-a-method", MODELOPT, _nested("somebody", "modelopt"))


def _kv_declared() -> Iterator[Variant]:
    """CK600, CK627, CK912: groups that are no lists, and schemes that say less than engines want."""
    for name, value in (
        ("text-with-star", "*k_proj"),
        ("text", "k_proj"),
        ("star", "*"),
        ("object", {"*k_proj": 1, "*v_proj": 1}),
        ("one-entry-too-many", ["*k_proj", "*v_proj", "*nothing"]),
    ):
        yield Variant(f"kv-group/{name}", QUARK_KV, lambda c, v=value: c.block["export"].update(kv_cache_group=v))  # type: ignore[misc]
    yield Variant("kv-group/text-without-layers", QUARK_FP8, lambda c: c.block["export"].update(kv_cache_group="*k"))
    for key in ("num_bits", "type", "dynamic"):
        yield Variant(f"kv-scheme-without/{key}", CT_KV, lambda c, k=key: c.block["kv_cache_scheme"].pop(k))  # type: ignore[misc]


def _other_values() -> Iterator[Variant]:
    """CK312, CK408, CK600, CK624: keys of config.json that are gone, and words that nothing has."""
    for name, value in (("word", "fp8"), ("prefix", "torch.bfloat16"), ("auto", "auto")):
        yield Variant(f"dtype/{name}", CT, set_config(dtype=value))
    yield Variant("scale_dtype/word", CT, lambda c: c.group["weights"].update(scale_dtype="fp32"))
    yield Variant("scale_dtype/name", CT, lambda c: c.group["weights"].update(scale_dtype="torch.float32"))
    yield Variant("input-bits/16", CT, lambda c: c.group["input_activations"].update(num_bits=16))
    for name, scheme in (("upper-case", "DYNAMIC"), ("null", None)):
        for fixture in (PLAIN_BLOCK, QUARK_CUSTOM):
            yield Variant(f"activation-scheme-{name}/{fixture}", fixture, set_block(activation_scheme=scheme))


VARIANTS = (
    *_config_keys(),
    *_scale_names(),
    *_left_over(),
    *_skip_lists(),
    *_names_of_classes(),
    *_modelopt_lists(),
    *_producers(),
    *_kv_declared(),
    *_other_values(),
    *_places(),
    *_by_class(),
    *(Variant(*found) for found in (*NEIGHBOURS, *SPELLINGS)),
)
