"""Quantization configs as the real classes can be built: valid ones, plausible ones, and ones with a value gone wrong.

*Valid* configs keep the libraries' rules by construction. *Plausible* ones have the right types and break rules about
what goes together as chance will have it: whether they are valid is for the real classes to say.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Config = dict[str, Any]

OBSERVERS = {
    "per_tensor": ["PerTensorMinMaxObserver", "PerTensorPercentileObserver", "LSQObserver"],
    "per_channel": ["PerChannelMinMaxObserver", "PerChannelPowOf2MinMSEObserver"],
    "per_group": ["PerGroupMinMaxObserver", "PerBlockMXObserver"],
    "per_block": ["PerBlock2DMinMaxObserver"],
}
#: Values that no key of either library takes.
GARBAGE = st.sampled_from([{"a": 1}, [[]], "no such thing", -7.5])

_NAMES = st.sampled_from(["Linear", "lm_head", "re:.*self_attn.*", "model.layers.0.mlp.gate", "層.0"])


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A list of none or one: a key that may be left out."""
    return st.lists(strategy, max_size=1)


@st.composite
def _with_optional(draw: st.DrawFn, fixed: Config, optional: dict[str, st.SearchStrategy[Any]]) -> Config:
    found = dict(fixed)
    for key, strategy in optional.items():
        for value in draw(sometimes(strategy)):
            found[key] = value
    return found


_OPTIONAL_ARGS: dict[str, st.SearchStrategy[Any]] = {
    "symmetric": st.booleans(),
    "scale_dtype": st.sampled_from([None, "torch.float32", "bfloat16", "torch.float8_e8m0fnu"]),
    "zp_dtype": st.sampled_from([None, "torch.float8_e4m3fn"]),
    "observer": st.sampled_from([None, "minmax", "memoryless_minmax"]),
    "observer_kwargs": st.sampled_from([{}, {"averaging_constant": 0.5}]),
}


@st.composite
def valid_args(draw: st.DrawFn, *, activation: bool = False) -> Config:
    """QuantizationArgs of an FP8 checkpoint."""
    choices = ["tensor", "token", "group", "attn_head"] if activation else ["tensor", "channel", "block", "group"]
    strategy = draw(st.sampled_from(choices))
    dynamic = strategy == "token" or (strategy in ("tensor", "group") and draw(st.booleans()))
    args: Config = {"num_bits": 8, "type": "float", "strategy": strategy, "dynamic": dynamic}
    if strategy == "group":
        args["group_size"] = draw(st.sampled_from([32, 128]))
    if strategy == "block":
        args["block_structure"] = draw(st.sampled_from([[128, 128], [1, 128], "128x128"]))
    if not activation:
        return draw(_with_optional(args, {**_OPTIONAL_ARGS, "actorder": st.sampled_from([None, "weight"])}))
    return draw(_with_optional(args, _OPTIONAL_ARGS))


@st.composite
def plausible_args(draw: st.DrawFn) -> Config:
    """QuantizationArgs with the right types, whatever goes together."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "num_bits": st.sampled_from([4, 6, 8, 8, 8, 16]),
        "type": st.sampled_from(["float", "float", "int"]),
        "group_size": st.sampled_from([None, None, -2, -1, 0, 1, 128]),
        "strategy": st.sampled_from(
            [None, "tensor", "channel", "group", "tensor_group", "block", "token", "attn_head"]
        ),
        "block_structure": st.sampled_from([None, None, [128, 128], "8x16", [0, 4], [1], "x"]),
        "dynamic": st.sampled_from([True, False, False, "local"]),
        "actorder": st.sampled_from([None, False, "weight", "static"]),
        **_OPTIONAL_ARGS,
    }
    return draw(_with_optional({}, optional))


@st.composite
def compressed_tensors(draw: st.DrawFn, *, valid: bool) -> Config:
    """A compressed-tensors ``quantization_config``."""
    args = valid_args() if valid else plausible_args()
    inputs = valid_args(activation=True) if valid else plausible_args()
    # The library judges preset groups by itself; a valid one is among the choices.
    group = _with_optional(
        {"targets": draw(st.lists(_NAMES, min_size=1, max_size=3))},
        {
            "weights": st.none() | args,
            "input_activations": st.none() | inputs,
            "output_activations": st.none() | inputs,
            "format": st.sampled_from([None, "float-quantized", "naive-quantized"]),
        },
    )
    groups = st.dictionaries(st.sampled_from(["group_0", "group_1", "mlp"]), group, max_size=2)
    presets = st.just({"FP8_DYNAMIC": ["Linear"]})
    fixed = {"quant_method": "compressed-tensors", "config_groups": draw(groups | presets)}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "format": st.sampled_from(["float-quantized", "dense", "mixed-precision"]),
        "quantization_status": st.sampled_from(["compressed", "frozen", "initialized"]),
        "global_compression_ratio": st.sampled_from([None, 1.5, 2]),
        "ignore": st.none() | st.lists(_NAMES, max_size=3),
        "kv_cache_scheme": st.none() | (valid_args() if valid else plausible_args()),
        "version": st.just("0.20.0"),
        "key_of_tomorrow": st.just(1),
    }
    return draw(_with_optional(fixed, optional))


@st.composite
def quark_spec(draw: st.DrawFn, *, valid: bool, activation: bool = False) -> Config:
    """One tensor spec of Quark, every key written as its exporter does."""
    qscheme = draw(st.sampled_from(["per_tensor", "per_channel", "per_group", "per_block"]))
    dynamic = draw(st.booleans()) or (activation and qscheme == "per_group" and valid)
    maybe = st.sampled_from([None, None, 1]) if not valid else st.none()
    channels = qscheme in ("per_channel", "per_group")
    observers = [name for names in OBSERVERS.values() for name in names] if not valid else OBSERVERS[qscheme]
    spec: Config = {
        "dtype": "fp8_e4m3",
        "is_dynamic": dynamic if valid else draw(st.sampled_from([True, False, False, None])),
        "qscheme": qscheme if valid else draw(st.sampled_from([qscheme, qscheme, None])),
        "ch_axis": draw(st.sampled_from([0, 1, -1])) if channels and valid else draw(maybe),
        "group_size": 128 if qscheme == "per_group" and valid else draw(maybe),
        "block_size": [128, 128] if qscheme == "per_block" else None,
        "symmetric": draw(st.sampled_from([True, None])),
        "round_method": draw(st.sampled_from(["half_even", "round", "floor", None])),
        "scale_type": draw(st.sampled_from(["float", "float32", "pof2", None])),
        "zero_point_type": draw(st.sampled_from(["int32", "float32", None])),
        "scale_format": draw(st.sampled_from([None, "float32"])),
        "scale_calculation_mode": None,
        "mx_element_dtype": None,
        "observer_cls": draw(st.sampled_from(observers)),
        "is_scale_quant": False,
        "enable_buffer_reuse": False,
        "max_input_numel": 4194304,
    }
    for key in draw(st.sets(st.sampled_from(["round_method", "scale_type", "zero_point_type", "is_scale_quant"]))):
        del spec[key]
    if draw(st.booleans()):
        spec["dynamic"], spec["axis"] = spec.pop("is_dynamic"), spec.pop("ch_axis")
    return spec


@st.composite
def quark_layer(draw: st.DrawFn, *, valid: bool) -> Config:
    """A layer spec: all roles, some of them null."""
    weight = quark_spec(valid=valid)
    activation = quark_spec(valid=valid, activation=True)
    layer = {
        "weight": draw(st.none() | weight | st.lists(weight, min_size=1, max_size=2)),
        "input_tensors": draw(st.none() | activation),
        "output_tensors": draw(st.none() | activation),
        "bias": None,
    }
    if draw(st.booleans()):
        layer["target_device"] = None
    return layer


@st.composite
def quark(draw: st.DrawFn, *, valid: bool) -> Config:
    """A native Quark ``quantization_config``."""
    layers = st.dictionaries(st.sampled_from(["*k_proj", "*v_proj", "*.mlp.*"]), quark_layer(valid=valid), max_size=2)
    fixed = {
        "quant_method": "quark",
        "global_quant_config": draw(quark_layer(valid=valid)),
        "layer_quant_config": draw(st.none() | layers),
        "layer_type_quant_config": draw(st.sampled_from([None, {}])),
        "exclude": draw(st.none() | st.lists(_NAMES, max_size=2)),
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "kv_cache_quant_config": st.none() | layers,
        "kv_cache_post_rope": st.booleans(),
        "softmax_quant_spec": st.none() | quark_spec(valid=valid),
        "algo_config": st.none(),
        "quant_mode": st.sampled_from(["eager_mode", "fx_graph_mode"]),
        "version": st.just("0.13"),
        "export": st.fixed_dictionaries(
            {"kv_cache_group": st.just(["*k_proj"]), "pack_method": st.sampled_from(["reorder", "order"])}
        ),
    }
    return draw(_with_optional(fixed, optional))


@st.composite
def damaged(draw: st.DrawFn, configs: st.SearchStrategy[Config]) -> Config:
    """A config with one value gone wrong, or a key lost, somewhere in it.

    Observers are spared: new ones come with each release of Quark, and older exports name none.
    """
    config = draw(configs)
    places = [place for place in _places(config) if place[1] != "observer_cls"]
    parent, key = draw(st.sampled_from(places))
    if isinstance(parent, dict) and draw(st.booleans()):
        del parent[key]
    else:
        parent[key] = draw(GARBAGE)
    return config


def _places(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return []
    return [place for key, item in items for place in [(value, key), *_places(item)]]
