"""Native Quark configs to be changed: a sound one, and with other keys in its specs."""

from __future__ import annotations

from typing import Any

STATIC = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}
INT4 = {"weight": {"dtype": "int4", "qscheme": "per_group", "group_size": 32}}
#: A config of the fp8 mode.
CUSTOM = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"], "export": {}}


def block(changes: dict[str, Any]) -> dict[str, Any]:
    """A sound config with these keys instead of its own."""
    return {
        "quant_method": "quark",
        "version": "0.13",
        "export": {"kv_cache_group": [], "weight_format": "real_quantized"},
        "global_quant_config": {"weight": STATIC, "input_tensors": STATIC, "output_tensors": None, "bias": None},
        "exclude": [],
        "layer_quant_config": {},
        "layer_type_quant_config": {},
        "kv_cache_quant_config": {},
        **changes,
    }


def weight(**changes: Any) -> dict[str, Any]:
    return {"global_quant_config": {"weight": {**STATIC, **changes}}}


def inputs(**changes: Any) -> dict[str, Any]:
    return {"global_quant_config": {"weight": STATIC, "input_tensors": {**STATIC, **changes}}}


def cache(**changes: Any) -> dict[str, Any]:
    output = {"weight": STATIC, "output_tensors": {**STATIC, **changes}}
    return {"export": {"kv_cache_group": ["*k_proj"]}, "layer_quant_config": {"*k_proj": output}}
