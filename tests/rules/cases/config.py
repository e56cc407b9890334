"""CK6xx: the quantization config against tensors and loaders."""

from __future__ import annotations

import json
import struct
from typing import Any

from tests.damage import (
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
    high_precision,
    plain_fp8,
    put,
    set_block,
    skip,
    steps,
)
from tests.rules.case import Case

_UNREAD = frozenset({"CK600"})


def _card(metadata: str) -> Damage:
    """A model card that claims something in its front matter."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.files["README.md"] = f"---\n{metadata}\n---\n# A model\n".encode()

    return change


def _fake(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["export"]["weight_format"] = "fake_quantized"


def _weight_format_unsaid(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["export"]["weight_format"] = None


def _legacy_block(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["compression_config"] = checkpoint.config.pop("quantization_config")


def _no_block(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.config["quantization_config"]


def _all_high(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+")(checkpoint)


def _all_but_mlp(checkpoint: MutableCheckpoint) -> None:
    high_precision(r"model\.layers\.\d+\.mlp\.\w+")(checkpoint)
    checkpoint.block["ignore"].append("re:.*mlp.*")


_ATTENTION_TOO = (frozenset({"CK635"}), frozenset({"CK635"}))
_ENDLESS = "re:([a-z_.0-9]+)+!"


def _rope(**beside: Any) -> Damage:
    """Parameters of rotary embeddings for each type of layers, and values beside them."""

    def change(checkpoint: MutableCheckpoint) -> None:
        parameters = checkpoint.config["text_config"]["rope_parameters"]
        kept = {key: value for key, value in parameters.items() if isinstance(value, dict)}
        checkpoint.config["text_config"]["rope_parameters"] = {**kept, **beside}

    return change


def _target(entry: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.group["targets"].append(entry)

    return change


def _modelopt(**keys: Any) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.config["quantization_config"] = {"quant_method": "modelopt", "ignore": ["lm_head"], **keys}

    return change


def hf_quant(**section: Any) -> Damage:
    """ModelOpt's own file beside config.json."""

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.files["hf_quant_config.json"] = json.dumps(
            {"producer": {"name": "modelopt", "version": "0.29"}, "quantization": section}
        ).encode()

    return change


def fp8_module(name: str, shape: tuple[int, int]) -> Damage:
    """One more module, quantized per channel as compressed-tensors stores it."""
    rows, columns = shape

    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.put(f"{name}.weight", "F8_E4M3", shape, bytes([0x30]) * (rows * columns))
        checkpoint.put(f"{name}.weight_scale", "BF16", (rows, 1), b"\x80\x3a" * rows)

    return change


def plain_module(name: str, shape: tuple[int, int]) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        checkpoint.put(f"{name}.weight", "BF16", shape, bytes(2 * shape[0] * shape[1]))
        checkpoint.block["ignore"].append(name)

    return change


def _regroup(**groups: Any) -> Damage:
    """Other config groups, all with the scheme of the first but for what is given."""

    def change(checkpoint: MutableCheckpoint) -> None:
        first = checkpoint.group
        checkpoint.block["config_groups"] = {name: {**first, **group} for name, group in groups.items()}

    return change


_TENSOR_WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}


def _nested(at_the_top: bool) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        block = checkpoint.config["quantization_config"] if at_the_top else checkpoint.config.pop("quantization_config")
        checkpoint.config["text_config"] = {"quantization_config": block}

    return change


def _packed_beside(checkpoint: MutableCheckpoint) -> None:
    checkpoint.put("model.layers.1.extra.qweight", "I32", (8, 64), bytes(2048))


def _shared(scheme: str) -> Damage:
    def change(checkpoint: MutableCheckpoint) -> None:
        for layer in range(2):
            name = f"model.layers.{layer}.mlp.shared_expert.up_proj"
            (fp8_module if scheme == "fp8" else plain_module)(name, (32, 64))(checkpoint)

    return change


def _input_scale(module: str) -> Damage:
    return put(f"{module}.input_scale", "BF16", (1,), struct.pack("<H", 0x3C00))


def _dynamic(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["input_activations"].update(dynamic=True, observer=None)


def _preset(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["config_groups"] = {"FP8_DYNAMIC": ["Linear"]}


def _no_outputs(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.block["global_quant_config"]["output_tensors"]


def _quantized_outputs(checkpoint: MutableCheckpoint) -> None:
    spec = checkpoint.block["global_quant_config"]
    spec["output_tensors"] = spec["weight"]


def _no_bias(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.block["global_quant_config"]["bias"]


def _old_version(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["version"] = "0.12"


def _unquantized_outputs(checkpoint: MutableCheckpoint) -> None:
    checkpoint.block["global_quant_config"]["output_tensors"] = []


def _arg(**args: Any) -> Damage:
    return lambda checkpoint: checkpoint.group["weights"].update(args)


def _also_in(group: str, target: str) -> Damage:
    return lambda checkpoint: checkpoint.block["config_groups"][group]["targets"].append(target)


def _unknown_arg(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["weights"]["scale_type"] = "float32"


def _known_args(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["weights"] = {"num_bits": 8, "type": "float", "strategy": "channel"}
    checkpoint.group["input_activations"] = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}


def _no_format(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.block["format"]
    del checkpoint.group["format"]


def _static_tokens(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["input_activations"]["dynamic"] = False


def _recent_arg(checkpoint: MutableCheckpoint) -> None:
    checkpoint.group["weights"]["scale_dtype"] = None


CASES = (
    Case("CK600", QUARK_FP8, _fake, _weight_format_unsaid, near_also=frozenset({"CK629"})),
    Case("CK601", CT, _no_block, _legacy_block, near_also=frozenset({"CK620"})),
    Case("CK602", CT, _all_high, _all_but_mlp),
    Case(
        "CK603",
        CT_FP8,
        hf_quant(quant_algo="NVFP4", exclude_modules=["lm_head"]),
        hf_quant(quant_algo="FP8", exclude_modules=["lm_head"]),
    ),
    Case("CK603", CT_KV, hf_quant(quant_algo="FP8"), hf_quant(quant_algo="FP8", kv_cache_quant_algo="FP8")),
    Case(
        "CK603", CT_FP8, hf_quant(quant_algo="FP8", exclude_modules=["lm_head", "*.gate"]), hf_quant(quant_algo="FP8")
    ),
    Case("CK604", CT_FP8, hf_quant(quant_algo=None), hf_quant(quant_algo="FP8")),
    Case("CK604", CT_FP8, _modelopt(), _modelopt(quant_algo="FP8"), _UNREAD),
    Case("CK631", CT, skip(_ENDLESS), skip("re:[a-z_.0-9]+!"), near_also=frozenset({"CK607"})),
    Case("CK631", CT, _target(_ENDLESS), _target("re:.*(q|k|v)_proj$")),
    Case("CK631", QUARK, skip(_ENDLESS), skip("([a-z_.0-9]+)+!"), frozenset({"CK607"}), frozenset({"CK607"})),
    Case(
        "CK634",
        CT,
        steps(drop(r"model\.embed_tokens\.weight"), fp8_module("model.embed_tokens", (32, 64))),
        fp8_module("model.embed_tokens_proj", (32, 64)),
    ),
    Case(
        "CK635",
        CT,
        _regroup(group_0={"targets": ["re:.*self_attn.*", "re:.*mlp.*"]}),
        _regroup(group_0={"targets": [r"re:.*self_attn\..*", r"re:.*mlp\..*_proj$"]}),
    ),
    Case(
        "CK635",
        CT,
        _regroup(group_0={"targets": ["model.layers.0.self_attn", "Linear"]}),
        steps(_regroup(group_0={"targets": ["re:.*self_attn.*", "re:.*proj$"]}), skip(r"re:.*self_attn$")),
        near_also=frozenset({"CK607", "CK608"}),
    ),
    Case(
        "CK635",
        CT,
        _regroup(group_0={"targets": [r"re:.*self_attn\..*", r"re:.*mlp\..*"]}),
        _regroup(group_0={"targets": ["re:.*_proj$"]}),
    ),
    Case(
        "CK636",
        "gemma3/quark-fp8-kv",
        _rope(rope_type="default"),
        _rope(rope_theta=None),
        given=_rope(),
    ),
    Case("CK616", CT, _regroup(everything={}), _regroup(group_0={"targets": ["Linear", "re:.*q_proj"]})),
    Case(
        "CK616",
        CT,
        _regroup(group_0={"targets": ["re:.*mlp.*"]}, group_1={"targets": ["re:.*self_attn.*"]}),
        _regroup(group_0={"targets": ["re:.*mlp.*", "re:.*self_attn.*"]}),
        *_ATTENTION_TOO,
    ),
    Case(
        "CK617",
        CT,
        _regroup(group_0={}, group_1={"targets": ["Linear"], "weights": _TENSOR_WEIGHTS}),
        _regroup(group_0={}, group_1={"targets": ["Linear"]}),
        frozenset({"CK306", "CK616"}),
        frozenset({"CK616"}),
    ),
    Case(
        "CK617",
        GROUPS,
        _also_in("group_1", "model.layers.0.self_attn.q_proj"),
        _also_in("group_0", "model.layers.0.self_attn.q_proj"),
        frozenset({"CK306", "CK621", "CK702"}),
    ),
    Case("CK618", CT, _no_format, set_block(format="naive-quantized")),
    Case("CK618", CT, set_block(quantization_status="frozen"), set_block(run_compressed=False)),
    Case("CK618", CT, _preset, _regroup(FP8_DYNAMIC={}), near_also=frozenset({"CK616"})),
    Case("CK619", CT, _unknown_arg, _arg(observer_kwargs={}), given=_known_args),
    Case("CK619", CT, set_block(ignored=["lm_head"]), set_block(version="0.1.0"), given=_known_args),
    Case("CK619", CT, _recent_arg, _arg(block_structure=None), given=_known_args),
    Case(
        "CK620",
        CT,
        set_block(sparsity_config={"format": "dense", "targets": ["Linear"]}),
        set_block(sparsity_config={"format": "dense"}),
    ),
    Case(
        "CK620",
        CT,
        _legacy_block,
        lambda checkpoint: checkpoint.config.update(compression_config={}),
    ),
    Case("CK621", CT_FP8, drop(r".*\.down_proj\.input_scale"), steps(_dynamic, drop(r".*\.input_scale"))),
    Case(
        "CK622",
        CT,
        _input_scale("model.layers.0.self_attn.q_proj"),
        _input_scale("lm_head"),
        near_also=frozenset({"CK202"}),
    ),
    Case("CK623", CT, set_block(quant_method="compressed-tensor"), set_block(version="0.1")),
    Case("CK623", CT_FP8, _modelopt(quant_algo="FP8_BLOCKWISE"), _modelopt(quant_algo="FP8", version="0.1"), _UNREAD),
    Case("CK623", CT, set_block(quant_method="compressed_tensors"), set_block(version="0.2")),
    Case("CK623", CT_FP8, _modelopt(quant_algo="fp8"), _modelopt(quant_algo="FP8", version="0.2")),
    Case("CK624", BLOCK, steps(plain_fp8, set_block(activation_scheme="static")), plain_fp8, _UNREAD),
    Case(
        "CK624",
        QUARK_CUSTOM,
        set_block(activation_scheme=None),
        set_block(activation_scheme="dynamic"),
        frozenset({"CK622"}),
        frozenset({"CK622"}),
    ),
    Case("CK625", CT, _nested(False), _nested(True)),
    Case("CK626", CT, _packed_beside, put("model.layers.1.extra.table", "I32", (8, 64), bytes(2048))),
    Case("CK627", QUARK, set_block(exclude=None), set_block(exclude=[]), frozenset({"CK605"}), frozenset({"CK605"})),
    Case("CK627", QUARK_KV, _no_outputs, _old_version, frozenset({"CK629"})),
    Case("CK627", QUARK, _quantized_outputs, _old_version),
    Case("CK627", QUARK_KV, _no_bias, _old_version, frozenset({"CK629"})),
    Case("CK627", QUARK, _unquantized_outputs, _old_version),
    Case("CK630", CT, _card("tags: [quark]"), _card("tags: [compressed-tensors]")),
    Case("CK629", CT, _static_tokens, _known_args, frozenset({"CK621"})),
    Case("CK628", MOE, _shared("bf16"), _shared("fp8")),
)
