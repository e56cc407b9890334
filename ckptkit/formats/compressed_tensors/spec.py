"""QuantizationArgs and groups as they are written, in the form that every reader takes.

Keys unknown to older readers are left out; ``type`` must be written since it defaults to "int"; the format stands in
each group for vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme

NAME = "compressed-tensors"
#: What FP8 weights beside a ``weight_scale`` are called.
STORAGE = "float-quantized"
#: The format of a checkpoint whose groups have formats of their own.
MIXED = "mixed-precision"

_STRATEGIES: dict[type[Any], str] = {
    PerTensor: "tensor",
    PerChannel: "channel",
    PerToken: "token",
    PerGroup: "group",
    PerBlock: "block",
    PerHead: "attn_head",
}


def group(scheme: Scheme, targets: Sequence[str]) -> dict[str, Any]:
    """One entry of ``config_groups``."""
    return {
        "format": STORAGE,
        "targets": list(targets),
        "weights": args(scheme.weight),
        "input_activations": None if scheme.input is None else args(scheme.input),
        "output_activations": None,
    }


def args(quantization: Quantization) -> dict[str, Any]:
    """QuantizationArgs of one role."""
    granularity = quantization.granularity
    found: dict[str, Any] = {
        "num_bits": 8,
        "type": "float",
        "symmetric": True,
        "strategy": _STRATEGIES[type(granularity)],
        "dynamic": quantization.dynamic,
    }
    if isinstance(granularity, PerGroup):
        found["group_size"] = granularity.size
    if isinstance(granularity, PerBlock):
        found["block_structure"] = [granularity.rows, granularity.columns]
    return found
