"""Groups that are not FP8: what compressed-tensors calls other storages, in canonical words as far as they go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ckptkit.formats import layouts
from ckptkit.formats.compressed_tensors.args import lower
from ckptkit.formats.dialect import texts
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import OtherScheme, Quantization, ScaleLevel

#: Formats of the library that store something else than FP8, beside which a group of FP8 may stand.
OTHER_STORAGES = frozenset(
    {"int-quantized", "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"}
)
#: The one of them whose elements are FP8 codes.
MXFP8_STORAGE = "mxfp8-quantized"
#: Those whose elements are floats with scales of groups, which say what every value is.
FLOAT_STORAGES = frozenset({"nvfp4-pack-quantized", "mxfp4-pack-quantized", MXFP8_STORAGE})
#: The layouts that a config can declare beside FP8: each has the name of its format, but for one that others share.
LAYOUTS = OTHER_STORAGES | {layouts.MXFP8.storage}
#: Formats that change the storage of a whole checkpoint.
WHOLE_STORAGES = frozenset({"marlin-24", "sparse-bitmask", "sparse-24-bitmask"})

#: Ends of tensor names -> what they are to a module of another storage.
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "weight": Part.WEIGHT,
        "weight_packed": Part.PACKED,
        "weight_scale": Part.SCALE,
        "weight_global_scale": Part.SECOND_SCALE,
        "weight_zero_point": Part.ZERO_POINT,
        "weight_shape": Part.SHAPE,
        "weight_g_idx": Part.ORDER,
        "input_scale": Part.INPUT_SCALE,
        "input_global_scale": Part.SECOND_INPUT_SCALE,
    }
)

_SINGLE = ScaleLevel(PerTensor(), "F32", divides=True)
#: Storage -> its name, and how its weights are quantized where the storage alone decides that.
_FIXED: Mapping[str, tuple[str, Quantization | None]] = MappingProxyType(
    {
        "nvfp4-pack-quantized": (
            "NVFP4",
            Quantization(PerGroup(16), dtype="F4", scale_dtype="F8_E4M3", second=_SINGLE),
        ),
        "mxfp4-pack-quantized": ("MXFP4", Quantization(PerGroup(32), dtype="F4", scale_dtype="F8_E8M0")),
        MXFP8_STORAGE: ("MXFP8", layouts.MXFP8.weight),
    }
)
_BITS = {"nvfp4-pack-quantized": 4, "mxfp4-pack-quantized": 4, MXFP8_STORAGE: 8}


#: The one of them that is for integers in words of several.
PACKED_INTEGERS = "pack-quantized"


def other_scheme(storage: str, body: Mapping[str, Any]) -> OtherScheme:
    """What a group of this storage declares. Values that are not understood are left out, not guessed."""
    targets = texts(body.get("targets"))
    rest = {"format": storage, **{key: value for key, value in body.items() if key not in ("format", "targets")}}
    return replace(_declared(storage, body), entry=json.dumps(rest), targets=targets)


def says_fp8(body: Mapping[str, Any]) -> bool:
    """Whether a group's weights are FP8 by its own words, whatever its storage is called: groups have another.

    >>> says_fp8({"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}})
    True
    """
    weights = body.get("weights")
    if not isinstance(weights, Mapping):
        return False
    floats = (weights.get("num_bits", 8), lower(weights.get("type"))) == (8, "float")
    return floats and lower(weights.get("strategy")) in ("tensor", "channel", "block")


def _declared(storage: str, body: Mapping[str, Any]) -> OtherScheme:
    weights = body.get("weights") if isinstance(body.get("weights"), Mapping) else {}
    inputs = body.get("input_activations")
    if storage in _FIXED:
        name, weight = _FIXED[storage]
        read = _quantization(inputs)
        if storage == MXFP8_STORAGE and read == layouts.MXFP8.input:
            return layouts.MXFP8
        name = name if inputs is not None or name == "MXFP4" else f"{name}A16"
        return OtherScheme(name, storage, _BITS[storage], weight, read)
    bits = weights.get("num_bits") if isinstance(weights, Mapping) else None
    bits = bits if type(bits) is int and 0 < bits <= 16 else None
    return OtherScheme(_integer_name(bits, inputs), storage, bits, _quantization(weights), _quantization(inputs))


def _integer_name(bits: int | None, inputs: Any) -> str:
    """
    >>> _integer_name(4, None), _integer_name(8, {"num_bits": 8})
    ('W4A16', 'W8A8 INT8')
    """
    width = "?" if bits is None else str(bits)
    if not isinstance(inputs, Mapping):
        return f"W{width}A16"
    return f"W{width}A{inputs.get('num_bits', 8)} INT{width}"


def _quantization(args: Any) -> Quantization | None:
    """Arguments in canonical words; None where they use others."""
    if not isinstance(args, Mapping):
        return None
    bits, kind, dynamic = args.get("num_bits", 8), lower(args.get("type")) or "int", args.get("dynamic", False)
    granularity = _granularity(args)
    symmetric = args.get("symmetric", True)
    if granularity is None or type(bits) is not int or not isinstance(kind, str):
        return None
    if not isinstance(dynamic, bool) or not isinstance(symmetric, bool):
        return None
    dtype = {("int", 8): "I8", ("int", 4): "I4", ("float", 8): "F8_E4M3", ("float", 4): "F4"}.get((kind, bits))
    return None if dtype is None else Quantization(granularity, dynamic, dtype, symmetric=symmetric)


def _granularity(args: Mapping[str, Any]) -> Granularity | None:
    strategy, size = lower(args.get("strategy")), args.get("group_size")
    if strategy == "group" or (strategy is None and type(size) is int and size > 0):
        return PerGroup(size) if type(size) is int and size > 0 else None
    simple: Mapping[Any, Granularity] = {"tensor": PerTensor(), "channel": PerChannel(), "token": PerToken()}
    return simple.get(strategy) if isinstance(strategy, str) else None


def shared_group(scheme: OtherScheme) -> dict[str, Any]:
    """The group of a layout that other formats have too, without its targets, as the library's preset spells it."""
    args = {
        "num_bits": 8,
        "type": "float",
        "strategy": "group",
        "group_size": 32,
        "symmetric": True,
        "scale_dtype": "torch.uint8",
        "zp_dtype": "torch.uint8",
    }
    if scheme.storage != layouts.MXFP8.storage:
        raise KeyError(scheme.storage)
    return {
        "format": MXFP8_STORAGE,
        "weights": {**args, "dynamic": False},
        "input_activations": {**args, "dynamic": True},
        "output_activations": None,
    }
