"""Kinds of faults that hang on the model class or on sizes: adapters left behind, algorithms over other tensors, heads
that a config leaves out, scales of caches under each name, linear attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.accuracy.again.drawn import declared, in_fp8
from tests.accuracy.again.hub import autofp8, blocks, channels, compressed, modelopt, static
from tests.accuracy.held.common import (
    GEMMA,
    MIXTRAL,
    MODELOPT,
    MODELOPT_KV,
    MODELOPT_MOE,
    PHI3,
    PLAIN_BLOCK,
    PLAIN_MOE,
    QWEN2,
    QWEN3,
    SIDE,
    VL,
)
from tests.damage import (
    BF16,
    BLOCK,
    CT,
    CT_FP8,
    MOE,
    QUARK,
    Damage,
    MutableCheckpoint,
    f32,
    set_block,
    set_config,
    steps,
)
from tests.formats.test_mixed import FP4, INT4, store, w4a16

#: A name, what is changed and how, and whether the files say themselves what is meant.
Neighbour = tuple[str, str, Damage, bool]

_Q, _O = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj"
_HEAD = ["lm_head", "re:.*mlp.gate$", "re:.*in_proj_ba$"]
_GLOBS = ["lm_head", "*mlp.gate", "*in_proj_ba", "*in_proj_b", "*in_proj_a"]
_KV = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


def _adapter(module: str, first: str = "lora_A.weight", second: str = "lora_B.weight") -> Damage:
    """Two small matrices of an adapter beside a layer, which were never merged."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.put(f"{module}.{first}", "BF16", (4, 64), bytes(512))
        checkpoint.put(f"{module}.{second}", "BF16", (64, 4), bytes(512))

    return change


def _adapters() -> Iterator[Neighbour]:
    for base in (CT, QUARK, MODELOPT, QWEN2, QWEN3, MIXTRAL, VL, MOE):
        for name, module in (("fused", _Q), ("alone", _O)):
            yield f"adapter-beside-{name}/{base}", base, _adapter(module), False
    yield f"adapter-beside-experts/{MOE}", MOE, _adapter("model.layers.0.mlp.experts.0.down_proj"), False
    yield f"adapter-by-name/{CT}", CT, _adapter(_Q, "lora_A.default.weight", "lora_B.default.weight"), False
    yield f"adapter-of-another-kind/{CT}", CT, _adapter(_Q, second="lora_magnitude_vector"), False
    for base in (CT, QWEN3):
        yield f"adapter-below-its-model/{base}", base, _adapter(f"base_model.model.{_Q}"), False
    for model in ("olmo2", "olmoe", "hunyuan_v1_dense", "minimax_m2", "glm4_moe", "gemma2"):
        yield f"adapter/{model}", f"drawn/{model}", steps(channels(_HEAD), _adapter(_Q)), True
    for name, module in (("gate", "model.layers.0.mlp.gate_proj"), ("queries", "model.layers.0.self_attn.q_a_proj")):
        yield f"adapter-beside-{name}/deepseek_v3", "drawn/deepseek_v3", steps(channels(_HEAD), _adapter(module)), True


def _algorithm(name: str) -> Damage:
    """Another algorithm in config.json, and no second config."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.block["quant_algo"] = name
        checkpoint.files.pop(SIDE, None)

    return change


def _group(storage: str, weights: dict[str, Any], inputs: dict[str, Any] | None, only: str | None = None) -> Damage:
    """Another quantization for all linear layers, or first for some of them."""

    def change(checkpoint: MutableCheckpoint) -> None:
        group = {"weights": weights, "input_activations": inputs, "output_activations": None, "format": storage}
        rest = checkpoint.block["config_groups"] if only else {}
        checkpoint.block["config_groups"] = {"group_1": {**group, "targets": [only or "Linear"]}, **rest}
        checkpoint.block["format"] = "mixed-precision" if only else storage

    return change


def _in_four_bits(checkpoint: MutableCheckpoint) -> None:
    """One layer of every MLP in W4A16, beside FP8."""
    store(checkpoint, w4a16, ("down_proj",))
    _group("pack-quantized", INT4, None, "re:.*down_proj")(checkpoint)


def _other_quantizations() -> Iterator[Neighbour]:
    for name in ("NVFP4", "W4A16_NVFP4"):
        for base in (MODELOPT, MODELOPT_KV, MODELOPT_MOE):
            yield f"algorithm-{name}-over-fp8/{base}", base, _algorithm(name), False
    local = {**FP4, "dynamic": "local"}
    for base in (CT, CT_FP8, QWEN3, MOE):
        yield f"nvfp4-over-fp8/{base}", base, _group("nvfp4-pack-quantized", FP4, local), False
        yield f"nvfp4-over-one-layer/{base}", base, _group("nvfp4-pack-quantized", FP4, local, "re:.*o_proj"), False
    yield f"w4a16-over-one-layer/{CT}", CT, _group("pack-quantized", INT4, None, "re:.*down_proj"), False
    yield f"w4a16-beside/{CT}", CT, _in_four_bits, True
    yield f"w4a16-beside/{BLOCK}", BLOCK, _in_four_bits, True


def _without(key: str) -> Damage:
    """A key of the language model's config that is gone."""

    def change(checkpoint: MutableCheckpoint) -> None:
        for level in (checkpoint.config, checkpoint.config.get("text_config") or {}):
            level.pop(key, None)

    return change


_no_heads = _without("num_attention_heads")


def _sizes_unsaid() -> Iterator[Neighbour]:
    for base in (CT, QWEN2, QWEN3, PHI3, MOE, VL, GEMMA, PLAIN_BLOCK, MODELOPT):
        yield f"heads-gone/{base}", base, _no_heads, False
    for model in ("ernie4_5_moe", "gemma2", "glm4", "glm4_moe", "hunyuan_v1_dense", "minimax_m2", "olmo2", "qwen3_vl"):
        change = steps(channels([*_HEAD, "re:.*visual.*"]), _no_heads)
        yield f"heads-gone/{model}", f"drawn/{model}", change, True
    latent = steps(channels(_HEAD), _no_heads)
    yield "heads-gone/deepseek_v3", "drawn/deepseek_v3", latent, True
    for base in (CT, MIXTRAL):
        yield f"kv-heads-gone/{base}", base, _without("num_key_value_heads"), False
    for base in (CT, QWEN3, GEMMA):
        yield f"head-dim-gone/{base}", base, _without("head_dim"), False
    for base in (CT, BF16, PLAIN_MOE):
        yield f"unnamed/{base}", base, set_config(architectures=None), False


def _kv(checkpoint: MutableCheckpoint, ends: tuple[str, str]) -> None:
    for name in checkpoint.names(r".*\.k_proj\.weight"):
        owner = name.removesuffix("k_proj.weight")
        for number, end in zip((0.5, 0.25), ends, strict=True):
            checkpoint.put(f"{owner}{end}", "F32", (1,) if "proj" not in end else (), f32(number))


def _names_of_kv_scales() -> Iterator[Neighbour]:
    for model in ("cohere", "olmo2", "olmoe", "gemma2", "gemma3_text", "glm4", "starcoder2", "ernie4_5_moe"):
        config = compressed("channel", "token", _HEAD) | {"kv_cache_scheme": _KV}
        scales = lambda c: _kv(c, ("k_scale", "v_scale"))  # noqa: E731
        yield f"kv-scales/{model}-ct", f"drawn/{model}", steps(in_fp8("row"), declared(config), scales), True
        projections = lambda c: _kv(c, ("k_proj.k_scale", "v_proj.v_scale"))  # noqa: E731
        change = steps(modelopt(_GLOBS, where="config"), set_block(kv_cache_scheme=_KV), projections)
        yield f"kv-scales/{model}-modelopt", f"drawn/{model}", change, True


def _interval(checkpoint: MutableCheckpoint) -> None:
    """The key by which older configs say which layers have full attention."""
    text = checkpoint.config.get("text_config") or checkpoint.config
    text["full_attention_interval"] = text["layer_types"].index("full_attention") + 1


def _linear_attention() -> Iterator[Neighbour]:
    kinds: dict[str, Damage] = {
        "ct": channels(_HEAD),
        "ct-static": static(_HEAD),
        "ct-blocks": blocks(_HEAD),
        "ct-blocks-unlisted": blocks(["lm_head"]),
        "fp8": autofp8(["lm_head"]),
        "modelopt": modelopt(_GLOBS),
    }
    for model in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"):
        for kind, change in kinds.items():
            yield f"linear-attention/{model}-{kind}", f"drawn/{model}", steps(change, _interval), True
        yield f"interval-gone/{model}-ct", f"drawn/{model}", kinds["ct"], True
    for kind in ("ct", "fp8", "modelopt"):
        yield f"states/falcon_h1-{kind}", "drawn/falcon_h1", kinds[kind], True
    for model in ("phi", "hunyuan_v1_dense"):
        for kind in ("ct", "fp8", "modelopt"):
            yield f"nameless-head/{model}-{kind}", f"drawn/{model}", kinds[kind], True


NEIGHBOURS = (*_adapters(), *_other_quantizations(), *_sizes_unsaid(), *_names_of_kv_scales(), *_linear_attention())
