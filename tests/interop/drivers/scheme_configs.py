"""Quantization configs of a scheme that is asked about, as checkpoints hold them: the engines' drivers give them to the
engines' own readers.

``weights`` and ``inputs`` of a scheme are named as in the tables of engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compressed_tensors(scheme: Mapping[str, Any]) -> dict[str, Any]:
    strategy = scheme["weights"].removeprefix("per-")
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": False}
    if strategy == "block":
        weights["block_structure"] = [128, 128]
    inputs = None
    if scheme["inputs"] != "none":
        how, _, kind = scheme["inputs"].partition(" per-")
        inputs = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": kind, "dynamic": how == "dynamic"}
        if kind == "group":
            inputs["group_size"] = 128
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": group},
        "ignore": [],
    }


def fp8(scheme: Mapping[str, Any]) -> dict[str, Any]:
    static = scheme["inputs"].startswith("static")
    block = {"weight_block_size": [128, 128]} if scheme["weights"] == "per-block" else {}
    return {"quant_method": "fp8", "activation_scheme": "static" if static else "dynamic", **block}


def quark(scheme: Mapping[str, Any]) -> dict[str, Any]:
    def spec(kind: str, dynamic: bool) -> dict[str, Any]:
        found = {"dtype": "fp8_e4m3", "qscheme": f"per_{kind}", "ch_axis": 0 if kind == "channel" else None}
        return {**found, "is_dynamic": dynamic, "symmetric": True, "observer_cls": "PerTensorMinMaxObserver"}

    how, _, kind = scheme["inputs"].partition(" per-")
    inputs = spec("channel" if kind == "token" else kind, how == "dynamic")
    weights = spec(scheme["weights"].removeprefix("per-"), False)
    return {
        "quant_method": "quark",
        "global_quant_config": {"weight": weights, "input_tensors": inputs, "output_tensors": None, "bias": None},
        "layer_quant_config": {},
        "layer_type_quant_config": {},
        "exclude": [],
        "export": {"kv_cache_group": [], "pack_method": "reorder"},
    }
