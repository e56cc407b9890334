"""Many output tensors made at once are what each would be alone."""

from __future__ import annotations

import pytest

from ckptkit.operations.outputs import as_stored, computed, keep, kept, likewise
from ckptkit.storage.payload import TensorRef

STORED = [
    TensorRef("a.scale", "BF16", (4, 1), "1.safetensors", 100, 8),
    TensorRef("b.scale", "BF16", (4, 1), "2.safetensors", 60, 8),
    TensorRef("c.weight_scale", "BF16", (4, 1), "2.safetensors", 68, 8),
]
NAMES = ["a.weight_scale", "b.scale", "c.weight_scale"]


def test_tensors_are_kept_as_each_alone() -> None:
    others = [*STORED, TensorRef("d", "F32", (), "1.safetensors", 8, 4)]
    assert list(kept(others)) == list(map(keep, others))


@pytest.mark.parametrize("shape", [(4, 1), (4,)], ids=["same shape", "another shape"])
@pytest.mark.parametrize("first", range(3))
def test_what_is_done_to_one_is_done_to_those_like_it(first: int, shape: tuple[int, ...]) -> None:
    sample = as_stored(STORED[first], NAMES[first], shape, "because")
    found = list(likewise(sample, zip(STORED, NAMES, strict=True)))
    assert found == [as_stored(*pair, shape, "because") for pair in zip(STORED, NAMES, strict=True)]
    kinds = ["rename", "keep", "keep"] if shape == (4, 1) else ["reshape"] * 3
    assert [tensor.operation for tensor in found] == kinds


def test_what_is_computed_of_one_is_computed_of_those_like_it() -> None:
    sample = computed("", "cast", (STORED[0],), {"dtype": "F32"}, "because", shape=(4,))
    assert list(likewise(sample, zip(STORED, NAMES, strict=True))) == [
        computed(name, "cast", (tensor,), {"dtype": "F32"}, "because", shape=(4,))
        for tensor, name in zip(STORED, NAMES, strict=True)
    ]
