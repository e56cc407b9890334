"""Which entries of ``layer_quant_config`` give every module its own scheme."""

from __future__ import annotations

import pytest

from ckptkit.formats.quark.layers import Layers, reads_back
from ckptkit.model.granularity import PerChannel, PerTensor
from ckptkit.model.scheme import Quantization, Scheme

TENSOR, CHANNEL = (Scheme(Quantization(granularity), None) for granularity in (PerTensor(), PerChannel()))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({}, False),  # all have the default
        ({"a.up": CHANNEL}, True),
        ({"a.down": CHANNEL}, False),
        ({"*up": CHANNEL}, True),
        ({"*": CHANNEL}, False),  # of the other module too
        ({"*": TENSOR, "a.up": CHANNEL}, True),  # exact names come first
        ({"*u*": TENSOR, "*up": CHANNEL}, False),  # the first of several patterns
        ({"*up": CHANNEL, "*u*": TENSOR}, True),
        ({"a.up": None, "*up": CHANNEL}, True),  # no scheme is no answer
    ],
)
def test_the_first_entry_that_matches(layers: Layers, expected: bool) -> None:
    assert reads_back(layers, {"a.up": CHANNEL, "a.down": TENSOR}, TENSOR) is expected
