"""What Quark's dtypes beside FP8 are, spec by spec: the name, the bits, and the weight in canonical words."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.formats.quark.other import other_scheme
from ckptkit.model.granularity import PerChannel, PerGroup, PerTensor

GROUP_32 = {"qscheme": "per_group", "group_size": 32}
INT8 = {"dtype": "int8", "qscheme": "per_tensor"}


@pytest.mark.parametrize(
    ("weight", "inputs", "name", "bits", "granularity", "scale"),
    [
        ({**INT8, "qscheme": "per_tensor"}, INT8, "W8A8 INT8", 8, PerTensor(), None),
        ({**INT8, "qscheme": "per_channel"}, None, "W8A16 INT8", 8, PerChannel(), None),
        ({"dtype": "int4", **GROUP_32}, None, "W4A16 INT4", 4, PerGroup(32), None),
        ({"dtype": "uint4", **GROUP_32, "group_size": 128}, None, "W4A16 UINT4", 4, PerGroup(128), None),
        ({"dtype": "fp4", **GROUP_32}, None, "MXFP4", 4, PerGroup(32), "F8_E8M0"),
        ({"dtype": "fp4", **GROUP_32, "group_size": 16}, None, "FP4", 4, PerGroup(16), None),
        ({"dtype": "mx", "mx_element_dtype": "fp4", **GROUP_32}, None, "MXFP4", 4, PerGroup(32), "F8_E8M0"),
        ({"dtype": "mx", "mx_element_dtype": "fp6_e3m2", **GROUP_32}, None, "W6A16 FP6_E3M2", 6, None, None),
        ({"dtype": "int4", "qscheme": "per_group", "group_size": 0}, None, "W4A16 INT4", 4, None, None),
        ({"dtype": "int4", "qscheme": "per_row"}, {"dtype": 8}, "W4A16 INT4", 4, None, None),
    ],
)
def test_a_spec(
    weight: dict[str, Any], inputs: Any, name: str, bits: int, granularity: object, scale: str | None
) -> None:
    found = other_scheme({"weight": weight, "input_tensors": inputs})
    assert found is not None and (found.name, found.bits) == (name, bits)
    assert (found.weight and found.weight.granularity) == granularity
    assert (found.weight and found.weight.scale_dtype) == scale
    assert found.weight is None or found.weight.symmetric


def test_scales_upon_scales_have_a_name_and_no_words() -> None:
    levels = [
        {"dtype": "fp4", "qscheme": "per_group", "group_size": 16},
        {"dtype": "fp8_e4m3", "qscheme": "per_tensor"},
    ]
    found = other_scheme({"weight": levels})
    assert found is not None and (found.name, found.bits, found.weight) == ("NVFP4", 4, None)


def test_zero_points_are_told() -> None:
    found = other_scheme({"weight": {**INT8, "symmetric": False}})
    assert found is not None and found.weight is not None and not found.weight.symmetric


@pytest.mark.parametrize("spec", [None, [], {}, {"weight": None}, {"weight": {"dtype": "fp8_e4m3"}}, {"weight": ["x"]}])
def test_what_is_fp8_or_nothing_is_no_other_scheme(spec: object) -> None:
    assert other_scheme(spec) is None
