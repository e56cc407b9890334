"""Quark's tensor and layer specs as Quark writes them today: every key, so that every reader finds it."""

from __future__ import annotations

from typing import Any

from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme

#: The version whose spelling these specs follow.
VERSION = "0.13"

_OBSERVERS: dict[type[Any], str] = {
    PerTensor: "PerTensorMinMaxObserver",
    PerChannel: "PerChannelMinMaxObserver",
    PerToken: "PerChannelMinMaxObserver",
    PerBlock: "PerBlock2DMinMaxObserver",
    PerGroup: "PerGroupMinMaxObserver",
}
_QSCHEMES: dict[type[Any], str] = {
    PerTensor: "per_tensor",
    PerChannel: "per_channel",
    PerToken: "per_channel",
    PerBlock: "per_block",
    PerGroup: "per_group",
}
_AXES: dict[type[Any], int | None] = {PerChannel: 0, PerToken: 1, PerGroup: -1}


def tensor_spec(quantization: Quantization | None, *, scale_type: str | None = "float") -> dict[str, Any] | None:
    """The spec of one role; None for a role that is not quantized."""
    if quantization is None:
        return None
    granularity = quantization.granularity
    return {
        "dtype": "fp8_e4m3",
        "is_dynamic": quantization.dynamic,
        "qscheme": _QSCHEMES[type(granularity)],
        "ch_axis": _AXES.get(type(granularity)),
        "group_size": granularity.size if isinstance(granularity, PerGroup) else None,
        "block_size": [granularity.rows, granularity.columns] if isinstance(granularity, PerBlock) else None,
        "symmetric": True,
        "round_method": "half_even",
        "scale_type": scale_type,
        "scale_format": None,
        "scale_calculation_mode": None,
        "mx_element_dtype": None,
        "observer_cls": _OBSERVERS[type(granularity)],
        "is_scale_quant": False,
        "zero_point_type": "int32",
        "enable_buffer_reuse": False,
        "max_input_numel": 4194304,
    }


def layer_spec(
    scheme: Scheme | None, output: Quantization | None = None, *, weight_scale_type: str = "float"
) -> dict[str, Any]:
    """The spec of a layer; ``output`` is set for projections whose output is the KV cache."""
    return {
        "input_tensors": tensor_spec(scheme.input) if scheme else None,
        # Explicit even when null: vLLM compares the key sets of fused projections' specs.
        "output_tensors": tensor_spec(output, scale_type=None),
        "weight": tensor_spec(scheme.weight, scale_type=weight_scale_type) if scheme else None,
        "bias": None,
        "target_device": None,
    }
