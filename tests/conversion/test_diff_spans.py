"""Weights that are compared in several pieces at once."""

from __future__ import annotations

import threading

import pytest

from ckptkit.conversion import diff_values
from ckptkit.conversion.diff_pairs import Stored
from ckptkit.conversion.diff_values import ValueComparer, Values
from ckptkit.storage.payload import TensorRef
from tests.raw import MemorySource


class Together(MemorySource):
    """Reads wait for each other, two and two."""

    def __init__(self, data: bytes) -> None:
        super().__init__({"model.safetensors": data})
        self.barrier = threading.Barrier(2, timeout=30)

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        self.barrier.wait()
        return super().read(name, start, nbytes)


def test_the_first_byte_that_differs_is_the_first_of_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_values, "_BYTES", 4)
    weight = Stored("a.weight", TensorRef("a.weight", "U8", (8,), "model.safetensors", 0, 8))
    item = Values(weight, weight, by_bytes=True, has_numbers=False)
    done: list[int] = []
    left, right = Together(b"abcdefgh"), Together(b"abcXXXXX")
    ValueComparer(left, right, workers=2, progress=done.append).run([item])
    assert item.first == 3
    assert sum(done) == 8
