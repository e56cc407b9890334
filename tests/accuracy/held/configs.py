"""Configs as older, newer and careless exporters spell them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.accuracy.held.common import (
    CUSTOM_KV,
    MIXTRAL,
    MODELOPT,
    MODELOPT_CHANNEL,
    MODELOPT_KV,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PLAIN_BLOCK,
    PLAIN_MOE,
    POWERS,
    QWEN2,
    QWEN2_QUARK,
    QWEN3,
    SIDE,
    VL,
    WEIGHT_ONLY,
    Held,
    inputs,
    listed,
    no_side_file,
    weights,
    without,
)
from tests.damage import (
    BF16,
    BLOCK,
    CT,
    CT_FP8,
    CT_KV,
    GROUPS,
    MOE,
    QUARK,
    QUARK_CUSTOM,
    QUARK_FP8,
    QUARK_KV,
    Damage,
    MutableCheckpoint,
    drop,
    plain_fp8,
    rename,
    set_block,
    set_config,
    steps,
)


def _older_key(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["compression_config"] = checkpoint.config.pop("quantization_config")


def _nested(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["quantization_config"] = {"quantization_config": checkpoint.block, "sparsity_config": {}}


def _preset(name: str) -> Damage:
    return lambda checkpoint: checkpoint.block.update(config_groups={name: ["Linear"]})


def _other_group(name: str) -> Damage:
    return lambda checkpoint: checkpoint.block.update(config_groups={name: checkpoint.group})


def _empty_group(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["config_groups"]["group_1"] = {**checkpoint.group, "targets": []}


def _targets(*targets: str) -> Damage:
    return lambda checkpoint: checkpoint.group.update(targets=list(targets))


def _group_key(key: str, value: Any) -> Damage:
    return lambda checkpoint: checkpoint.group.update({key: value})


def _minimal(checkpoint: MutableCheckpoint) -> None:
    """As the first releases wrote it: no format of groups, few keys of arguments."""
    kept = ("num_bits", "type", "symmetric", "strategy", "dynamic")
    group = checkpoint.group
    checkpoint.block["config_groups"] = {
        "group_0": {
            "targets": group["targets"],
            "weights": {key: group["weights"][key] for key in kept},
            "input_activations": {key: group["input_activations"][key] for key in kept},
        }
    }
    for key in ("sparsity_config", "transform_config", "global_compression_ratio", "kv_cache_scheme", "version"):
        checkpoint.block.pop(key, None)


#: What these say of inputs and outputs is another scheme, that the checkpoint then has: its values are its own.
_OTHER_VALUES = ("inputs-", "outputs")


def _compressed_tensors() -> Iterator[Held]:
    changes: dict[str, Damage] = {
        "older-key": _older_key,
        "nested": _nested,
        "minimal": _minimal,
        "preset": _preset("FP8_DYNAMIC"),
        "group-by-scheme": _other_group("FP8_DYNAMIC"),
        "empty-group": _empty_group,
        "targets-pattern": _targets("re:.*_proj$"),
        "targets-all": _targets("re:.*"),
        "targets-exact": _targets("model.layers.0.mlp.down_proj", "Linear"),
        "targets-fused": _targets("re:.*(qkv|gate_up|o|down)_proj$"),
        "targets-glob": _targets("*_proj"),
        "naive": steps(set_block(format="naive-quantized"), _group_key("format", "naive-quantized")),
        "dense": steps(set_block(format="dense"), _group_key("format", "dense")),
        "pack-quantized": steps(set_block(format="pack-quantized"), _group_key("format", "pack-quantized")),
        "type-int": weights(type="int"),
        "bits-4": weights(num_bits=4),
        "asymmetric": weights(symmetric=False),
        "strategy-null": weights(strategy=None),
        "dynamic-weights": weights(dynamic=True),
        "inputs-null": _group_key("input_activations", None),
        "inputs-by-tensor": inputs(strategy="tensor"),
        "inputs-static": inputs(dynamic=False),
        "inputs-group": inputs(strategy="group", group_size=128),
        "outputs": _group_key("output_activations", {"num_bits": 8, "type": "float", "dynamic": True}),
        "unknown-key": set_block(made_by="hand"),
        "unknown-argument": weights(rounding="nearest"),
        "sparsity-dense": set_block(sparsity_config={"format": "dense"}),
        "sparsity-24": set_block(
            sparsity_config={
                "format": "sparse-24-bitmask",
                "targets": ["Linear"],
                "ignore": [],
                "sparsity_structure": "2:4",
            }
        ),
        "ignore-missing": without("ignore"),
        "status-calibration": set_block(quantization_status="calibration"),
        "version-old": set_block(version="0.6.0"),
        "method-with-underscore": set_block(quant_method="compressed_tensors"),
    }
    for number, (name, change) in enumerate(changes.items()):
        yield Held(f"config/{name}/qwen3-ct", QWEN3, change, OWN if name.startswith(_OTHER_VALUES) else None)
        if number % 3 == 0:
            yield Held(f"config/{name}/mixtral-ct", MIXTRAL, change)
    yield Held("config/block-structure-as-text", BLOCK, weights(block_structure="128x128"))
    yield Held("config/block-structure-missing", BLOCK, lambda c: c.group["weights"].pop("block_structure"))
    yield Held("config/block-structure-other", BLOCK, weights(block_structure=[64, 64]))
    yield Held("config/inputs-by-token/blocks", BLOCK, inputs(strategy="token", group_size=None), OWN)
    yield Held("config/strategy-says-tensor", CT, weights(strategy="tensor"))
    yield Held("config/strategy-says-channel", CT_FP8, weights(strategy="channel"))
    yield Held("config/strategy-says-channel/blocks", BLOCK, weights(strategy="channel"))
    yield Held("config/inputs-dynamic-with-scales", CT_FP8, inputs(dynamic=True), OWN)
    yield Held(
        "config/weight-only-says-dynamic",
        WEIGHT_ONLY,
        _group_key(
            "input_activations",
            {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True, "symmetric": True},
        ),
        OWN,
    )
    yield Held(
        "config/groups-reversed",
        GROUPS,
        lambda c: c.block.update(config_groups=dict(reversed(c.block["config_groups"].items()))),
    )
    yield Held("config/groups-linear-second", GROUPS, _second_group_linear)
    yield Held("config/groups-one-dropped", GROUPS, lambda c: c.block["config_groups"].pop("group_1"))
    yield Held("config/kv-scheme-gone", CT_KV, set_block(kv_cache_scheme=None))
    yield Held("config/kv-scheme-dynamic", CT_KV, lambda c: c.block["kv_cache_scheme"].update(dynamic=True))
    yield Held("config/kv-scheme-int", CT_KV, lambda c: c.block["kv_cache_scheme"].update(type="int"))
    yield Held("config/kv-scheme-by-head", CT_KV, lambda c: c.block["kv_cache_scheme"].update(strategy="attn_head"))
    yield Held("config/in-text-config-too", VL, lambda c: c.config["text_config"].update(quantization_config=c.block))
    yield Held(
        "config/in-text-config-only",
        VL,
        lambda c: c.config["text_config"].update(quantization_config=c.config.pop("quantization_config")),
    )
    yield Held("config/on-plain-weights", BF16, lambda c: c.config.update(quantization_config=_block_of(CT)), OWN)


def _block_of(fixture: str) -> dict[str, Any]:
    from tests.damage import load

    return load(fixture).block


def _second_group_linear(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["config_groups"]["group_1"]["targets"] = ["Linear"]


def _fp8() -> Iterator[Held]:
    changes: dict[str, Damage] = {
        "scheme-missing": without("activation_scheme"),
        "scheme-dynamic": set_block(activation_scheme="dynamic"),
        "static-without-scales": drop(r".*\.input_scale"),
        "block-size-too": set_block(weight_block_size=[128, 128]),
        "method-in-capitals": set_block(quant_method="FP8"),
        "two-lists": set_block(modules_to_not_convert=["model.layers.0.mlp.down_proj"]),
        "serialized": set_block(is_checkpoint_fp8_serialized=True, fmt="e4m3"),
        "kv-static-without-scales": set_block(kv_cache_scheme="static"),
        "export-missing": without("export"),
    }
    for name, change in changes.items():
        yield Held(f"config/{name}/fp8", QUARK_CUSTOM, change)
    yield Held("config/kv-scheme-missing/fp8", CUSTOM_KV, without("kv_cache_scheme"))
    yield Held("config/kv-scheme-dynamic/fp8", CUSTOM_KV, set_block(kv_cache_scheme="dynamic"))
    blocks: dict[str, Damage] = {
        "block-size-missing": without("weight_block_size"),
        "block-size-half": set_block(weight_block_size=[64, 128]),
        "block-size-one": set_block(weight_block_size=[128]),
        "scheme-static": set_block(activation_scheme="static"),
        "scheme-missing": without("activation_scheme"),
        "scale-fmt": set_block(scale_fmt="ue8m0"),
        "fmt-e5m2": set_block(fmt="e5m2"),
        "dequantize": set_block(dequantize=True),
        "deepseek": set_block(fmt="e4m3", modules_to_not_convert=["lm_head"], ignored_layers=None),
        "modules-to-convert": set_block(modules_to_convert=["model.embed_tokens"]),
        "kv-fp8": set_block(kv_cache_scheme={"num_bits": 8, "type": "float", "dynamic": False}),
    }
    for name, change in blocks.items():
        yield Held(f"config/{name}/fp8-blocks", PLAIN_BLOCK, change)
    yield Held("config/block-size-missing/fp8-experts", PLAIN_MOE, without("weight_block_size"))
    yield Held("config/scale-fmt-float", POWERS, set_block(scale_fmt="float"))
    yield Held("config/fp8-of-channels", CT, steps(_as_fp8, rename(r"(.*)\.weight_scale", r"\1.weight_scale")))
    yield Held("config/fp8-of-channels/phi3", PHI3, _as_fp8)
    yield Held(
        "config/fp8-of-blocks-without-inverse",
        BLOCK,
        steps(plain_fp8, rename(r"(.*)\.weight_scale_inv", r"\1.weight_scale"), without("weight_block_size")),
    )
    yield Held("config/fbgemm", CT, _as_fbgemm)
    yield Held("config/fbgemm/qwen2", QWEN2, _as_fbgemm)


def _as_fp8(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "ignored_layers": ["lm_head"],
    }


def _as_fbgemm(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["quantization_config"] = {
        "quant_method": "fbgemm_fp8",
        "activation_scale_ub": 1200.0,
        "modules_to_not_convert": ["lm_head"],
    }


def _side(**section: Any) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        document = {"producer": {"name": "modelopt", "version": "0.33.0"}, "quantization": section}
        checkpoint.files[SIDE] = json.dumps(document).encode()

    return change


def _section_in_config(checkpoint: MutableCheckpoint) -> None:
    """The layout of the side file as the quantization config."""
    no_side_file(checkpoint)
    block = checkpoint.block
    section = {"quant_algo": block["quant_algo"], "kv_cache_quant_algo": None, "exclude_modules": block["ignore"]}
    checkpoint.config["quantization_config"] = {"quant_method": "modelopt", "quantization": section}


def _modelopt() -> Iterator[Held]:
    alone_in_side = lambda c: c.config.pop("quantization_config")  # noqa: E731
    changes: dict[str, Damage] = {
        "section": _section_in_config,
        "method-fp8": steps(no_side_file, set_block(quant_method="modelopt_fp8")),
        "algo-in-small": steps(no_side_file, set_block(quant_algo="fp8")),
        "algo-missing": steps(no_side_file, without("quant_algo")),
        "algo-null": steps(no_side_file, set_block(quant_algo=None)),
        "groups-missing": steps(no_side_file, without("config_groups")),
        "producer-missing": steps(no_side_file, without("producer")),
        "list-as-excluded": steps(no_side_file, lambda c: c.block.update(exclude_modules=c.block.pop("ignore"))),
        "side-with-other-algo": _side(quant_algo="NVFP4", kv_cache_quant_algo=None, exclude_modules=["lm_head"]),
        "side-alone-without-list": steps(alone_in_side, _side(quant_algo="FP8", kv_cache_quant_algo=None)),
        "side-alone-null-list": steps(
            alone_in_side, _side(quant_algo="FP8", kv_cache_quant_algo=None, exclude_modules=None)
        ),
        "side-alone-glob": steps(
            alone_in_side, _side(quant_algo="FP8", kv_cache_quant_algo=None, exclude_modules=["*lm_head*", "*embed*"])
        ),
        "side-kv-without-scales": steps(
            alone_in_side, _side(quant_algo="FP8", kv_cache_quant_algo="FP8", exclude_modules=["lm_head"])
        ),
        "side-empty": steps(alone_in_side, _side()),
    }
    for name, change in changes.items():
        yield Held(f"config/{name}/modelopt", MODELOPT, change)
    yield Held("config/section/modelopt-experts", MODELOPT_MOE, _section_in_config)
    yield Held("config/algo-says-tensor", MODELOPT_CHANNEL, steps(no_side_file, set_block(quant_algo="FP8")))
    yield Held(
        "config/algo-says-channel", MODELOPT, steps(no_side_file, set_block(quant_algo="FP8_PER_CHANNEL_PER_TOKEN"))
    )
    yield Held("config/algo-mixed", MODELOPT, steps(no_side_file, set_block(quant_algo="MIXED_PRECISION")))
    yield Held("config/kv-undeclared/modelopt", MODELOPT_KV, steps(no_side_file, without("kv_cache_scheme")))
    yield Held(
        "config/kv-int8/modelopt",
        MODELOPT_KV,
        steps(no_side_file, set_block(kv_cache_scheme={"num_bits": 8, "type": "int", "dynamic": False})),
    )


#: What declares other inputs than the fixture's: rounded as it says, they are what is meant.
_OTHER_INPUTS = ("inputs-e5m2", "inputs-by-channel")


def _quark() -> Iterator[Held]:
    def spec(role: str, **keys: Any) -> Damage:
        return lambda checkpoint: checkpoint.block["global_quant_config"][role].update(keys)

    changes: dict[str, Damage] = {
        "export-missing": without("export"),
        "order": lambda c: c.block["export"].update(pack_method="order"),
        "fake": lambda c: c.block["export"].update(weight_format="fake_quantized"),
        "exclude-missing": without("exclude"),
        "mode-missing": without("quant_mode"),
        "version-old": set_block(version="0.6"),
        "layers-null": set_block(layer_quant_config=None, layer_type_quant_config=None),
        "axis-negative": spec("weight", ch_axis=-2),
        "axis-one": spec("weight", ch_axis=1),
        "e5m2": spec("weight", dtype="fp8_e5m2"),
        "inputs-e5m2": spec("input_tensors", dtype="fp8_e5m2"),
        "asymmetric": spec("weight", symmetric=False),
        "inputs-by-channel": spec("input_tensors", qscheme="per_channel", ch_axis=0),
        "inputs-static": spec("input_tensors", is_dynamic=False),
        "weight-dynamic": spec("weight", is_dynamic=True),
        "says-tensor": spec("weight", qscheme="per_tensor", ch_axis=None),
        "global-null": set_block(global_quant_config=None),
        "by-layer-type": lambda c: c.block.update(
            layer_type_quant_config={"Linear": c.block["global_quant_config"]},
        ),
        "by-layer-name": lambda c: c.block.update(layer_quant_config={"*mlp*": c.block["global_quant_config"]}),
    }
    for name, change in changes.items():
        yield Held(f"config/{name}/qwen2-quark", QWEN2_QUARK, change, OWN if name in _OTHER_INPUTS else None)
    yield Held("config/says-channel/quark", QUARK_FP8, spec("weight", qscheme="per_channel", ch_axis=0))
    yield Held("config/inputs-dynamic-with-scales/quark", QUARK_FP8, spec("input_tensors", is_dynamic=True), OWN)
    yield Held("config/kv-group-gone/quark", QUARK_KV, lambda c: c.block["export"].update(kv_cache_group=None))
    yield Held("config/kv-config-gone/quark", QUARK_KV, set_block(kv_cache_quant_config=None))
    yield Held("config/kv-layers-gone/quark", QUARK_KV, set_block(layer_quant_config={}))
    yield Held("config/older-key/quark", QUARK, _older_key)


def _rest() -> Iterator[Held]:
    changes: dict[str, Damage] = {
        "rope-older": lambda c: c.config.update(
            rope_theta=c.config.pop("rope_parameters")["rope_theta"], rope_scaling=None
        ),
        "dtype-older": lambda c: c.config.update(torch_dtype=c.config.pop("dtype")),
        "dtype-float16": set_config(dtype="float16"),
        "dtype-float32": set_config(dtype="float32"),
        "architectures-missing": set_config(architectures=None),
        "model-type-missing": set_config(model_type=None),
        "kv-heads-missing": set_config(num_key_value_heads=None),
        "head-dim-missing": set_config(head_dim=None),
        "vocabulary-larger": set_config(vocab_size=64),
        "layers-fewer": set_config(num_hidden_layers=1),
        "layers-more": set_config(num_hidden_layers=3),
        "intermediate-other": set_config(intermediate_size=96),
        "tie-missing": set_config(tie_word_embeddings=None),
        "transformers-old": set_config(transformers_version="4.40.0"),
    }
    for name, change in changes.items():
        yield Held(f"config/{name}/qwen2-ct", QWEN2, change)
        if name in ("rope-older", "dtype-older", "kv-heads-missing", "layers-more"):
            yield Held(f"config/{name}/modelopt-experts", MODELOPT_MOE, change)
            yield Held(f"config/{name}/quark", QUARK_FP8, change)
    yield Held(
        "config/experts-by-the-other-key", MOE, lambda c: c.config.update(num_experts=c.config.pop("num_local_experts"))
    )
    yield Held("config/experts-more", MOE, set_config(num_local_experts=6))
    yield Held("config/experts-fewer", MODELOPT_MOE, set_config(num_local_experts=3))
    yield Held("config/mlp-only-layers", MOE, set_config(mlp_only_layers=[0]))
    yield Held("config/lists-of-two-formats", CT, listed("modules_to_not_convert", "lm_head"))


CONFIGS = (*_compressed_tensors(), *_fp8(), *_modelopt(), *_quark(), *_rest())
