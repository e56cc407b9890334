"""Layers that are not FP8: what Quark's other dtypes are, in canonical words as far as they go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import Granularity, PerChannel, PerGroup, PerTensor
from ckptkit.model.scheme import OtherScheme, Quantization

#: Quark's dtypes of weights that are stored and are not FP8 E4M3 -> bits of an element.
BITS: Mapping[str, int] = MappingProxyType(
    {
        **{f"{sign}int{bits}": bits for sign in ("", "u") for bits in (2, 3, 4, 8, 16)},
        **{"fp6_e3m2": 6, "fp6_e2m3": 6, "fp4": 4, "mx6": 6, "mx9": 9},
    }
)
NAME = "quark"
_ELEMENTS = {"int8": "I8", "uint8": "U8", "int4": "I4", "uint4": "U4", "fp4": "F4"}

#: The layouts that Quark has beside FP8.
OTHER_STORAGES = frozenset(f"{NAME} {dtype}" for dtype in BITS)

#: Ends of tensor names -> what they are to a module of another storage.
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "weight": Part.WEIGHT,
        "weight_scale": Part.SCALE,
        "weight_scale_2": Part.SECOND_SCALE,
        "weight_zero_point": Part.ZERO_POINT,
        "input_scale": Part.INPUT_SCALE,
        "input_scale_2": Part.SECOND_INPUT_SCALE,
    }
)


def other_scheme(spec: Any) -> OtherScheme | None:
    """The scheme of a layer whose weight is quantized to something else than FP8 E4M3; None for any other layer."""
    levels = _levels(spec.get("weight")) if isinstance(spec, Mapping) else []
    dtype = levels[0].get("dtype") if levels else None
    if dtype == "mx":
        dtype = levels[0].get("mx_element_dtype")
    if not isinstance(dtype, str) or dtype not in BITS:
        return None
    inputs = _levels(spec.get("input_tensors"))
    name = _name(dtype, levels, inputs)
    return OtherScheme(name, f"{NAME} {dtype}", BITS[dtype], _weight(dtype, levels), entry=json.dumps(spec))


def is_mxfp4(scheme: OtherScheme) -> bool:
    """Whether a scheme is that of E2M1 elements with a power of two for each group, which says what every value is."""
    return scheme.weight is not None and (scheme.weight.dtype, scheme.weight.scale_dtype) == ("F4", "F8_E8M0")


def _levels(value: Any) -> list[Mapping[str, Any]]:
    """The specs of one tensor: scales upon scales, or one alone."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Mapping)]


def _name(dtype: str, levels: list[Mapping[str, Any]], inputs: list[Mapping[str, Any]]) -> str:
    """
    >>> _name("int8", [{}], [{"dtype": "int8"}]), _name("int4", [{}], [])
    ('W8A8 INT8', 'W4A16 INT4')
    """
    if dtype == "fp4" and len(levels) > 1:
        return "NVFP4"
    if dtype == "fp4":
        return "MXFP4" if levels[0].get("group_size") == 32 else "FP4"
    read = inputs[0].get("dtype") if inputs else None
    width = BITS.get(read, 8) if isinstance(read, str) else 16
    return f"W{BITS[dtype]}A{width} {dtype.upper()}"


def _weight(dtype: str, levels: list[Mapping[str, Any]]) -> Quantization | None:
    """The weight in canonical words; None where it has scales upon scales, or elements without a name."""
    first, size = levels[0], levels[0].get("group_size")
    granularities: Mapping[Any, Granularity] = {"per_tensor": PerTensor(), "per_channel": PerChannel()}
    granularity = granularities.get(first.get("qscheme"))
    if first.get("qscheme") == "per_group" and type(size) is int and size > 0:
        granularity = PerGroup(size)
    if granularity is None or len(levels) > 1 or dtype not in _ELEMENTS:
        return None
    scale_dtype = "F8_E8M0" if dtype == "fp4" and size == 32 else None
    return Quantization(
        granularity, dtype=_ELEMENTS[dtype], scale_dtype=scale_dtype, symmetric=first.get("symmetric") is not False
    )
