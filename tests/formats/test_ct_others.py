"""compressed-tensors groups that are not FP8: what their arguments say in canonical words, and what they are called."""

from __future__ import annotations

from typing import Any

import pytest

from ckptkit.formats.compressed_tensors.other import other_scheme
from ckptkit.model.granularity import PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization

WEIGHTS = {"num_bits": 4, "strategy": "group", "group_size": 128}


@pytest.mark.parametrize(
    ("changes", "granularity"),
    [
        ({}, PerGroup(128)),
        ({"strategy": None}, PerGroup(128)),
        ({"strategy": "GROUP", "group_size": 1}, PerGroup(1)),
        ({"strategy": None, "group_size": 1}, PerGroup(1)),
        ({"group_size": 0}, None),
        ({"group_size": True}, None),
        ({"group_size": None}, None),
        ({"strategy": None, "group_size": 0}, None),
        ({"strategy": None, "group_size": None}, None),
        ({"strategy": "tensor"}, PerTensor()),
        ({"strategy": "Channel"}, PerChannel()),
        ({"strategy": "token"}, PerToken()),
        ({"strategy": "block"}, None),
        ({"strategy": ["group"]}, None),
    ],
)
def test_groups_of_integers(changes: dict[str, Any], granularity: object) -> None:
    """A granularity that is not understood is left out with all else that the arguments say, and not guessed."""
    weight = other_scheme("pack-quantized", {"weights": {**WEIGHTS, **changes}}).weight
    assert weight == (None if granularity is None else Quantization(granularity, dtype="I4"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "dtype", "dynamic", "symmetric"),
    [
        ({}, "I4", False, True),
        ({"type": "INT", "num_bits": 8}, "I8", False, True),
        ({"type": "float"}, "F4", False, True),
        ({"type": "float", "num_bits": 8, "dynamic": True}, "F8_E4M3", True, True),
        ({"symmetric": False}, "I4", False, False),
    ],
)
def test_other_elements(changes: dict[str, Any], dtype: str, dynamic: bool, symmetric: bool) -> None:
    weight = other_scheme("pack-quantized", {"weights": {**WEIGHTS, **changes}}).weight
    assert weight == Quantization(PerGroup(128), dynamic, dtype, symmetric=symmetric)


@pytest.mark.parametrize(
    "changes",
    [{"num_bits": 3}, {"num_bits": "4"}, {"type": 4}, {"dynamic": 1}, {"dynamic": None}, {"symmetric": "true"}],
)
def test_elements_that_are_not_understood(changes: dict[str, Any]) -> None:
    assert other_scheme("pack-quantized", {"weights": {**WEIGHTS, **changes}}).weight is None


@pytest.mark.parametrize(
    ("storage", "weight", "inputs", "name", "bits"),
    [
        ("pack-quantized", {"num_bits": 4}, None, "W4A16", 4),
        ("pack-quantized", {"num_bits": 16}, None, "W16A16", 16),
        ("pack-quantized", {"num_bits": 17}, None, "W?A16", None),
        ("pack-quantized", {"num_bits": 0}, None, "W?A16", None),
        ("pack-quantized", {"num_bits": True}, None, "W?A16", None),
        ("pack-quantized", [], None, "W?A16", None),
        ("int-quantized", {"num_bits": 8}, {}, "W8A8 INT8", 8),
        ("int-quantized", {"num_bits": 4}, {"num_bits": 8}, "W4A8 INT4", 4),
        ("nvfp4-pack-quantized", {}, None, "NVFP4A16", 4),
        ("nvfp4-pack-quantized", {}, {}, "NVFP4", 4),
        ("mxfp4-pack-quantized", {}, None, "MXFP4", 4),
        ("mxfp8-quantized", {}, None, "MXFP8A16", 8),
        ("mxfp8-quantized", {}, {"num_bits": 8}, "MXFP8", 8),
    ],
)
def test_names_of_other_storages(storage: str, weight: Any, inputs: Any, name: str, bits: int | None) -> None:
    found = other_scheme(storage, {"weights": weight, "input_activations": inputs, "targets": ["Linear", 3]})
    assert (found.name, found.storage, found.bits, found.targets) == (name, storage, bits, ("Linear",))
