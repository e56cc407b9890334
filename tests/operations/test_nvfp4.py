"""NVFP4 as plain floats: every element under every scale, and both meanings of the second one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import ContainerError
from ckptkit.model.numbers import numbers, upper_halves
from ckptkit.operations import compiled, outputs, stream
from ckptkit.storage.payload import Computed, TensorRef
from tests.operations.test_mx import E2M1
from tests.raw import MemorySource


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By numpy alone, and by compiled loops where they can."""
    monkeypatch.setattr(compiled, "WARM_UP", -1 if request.param == "compiled" else math.inf)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", -1)


def stored(elements: np.ndarray, scales: np.ndarray, second: float) -> tuple[tuple[TensorRef, ...], MemorySource]:
    """Elements [..., N, K] of four bits, E4M3 codes [..., N, K/16] and the second scale, in one file."""
    packed = (elements[..., ::2] | elements[..., 1::2] << 4).astype(np.uint8)
    data = [packed.tobytes(), scales.astype(np.uint8).tobytes(), np.float32(second).tobytes()]
    places = [0, len(data[0]), len(data[0]) + len(data[1])]
    weight = TensorRef("w", "U8", packed.shape, "file", places[0], len(data[0]))
    scale = TensorRef("s", "F8_E4M3", scales.shape, "file", places[1], len(data[1]))
    single = TensorRef("g", "F32", (1,), "file", places[2], 4)
    return (weight, scale, single), MemorySource({"file": b"".join(data)})


def made(refs: tuple[TensorRef, ...], source: MemorySource, dtype: str, *, divides: bool) -> bytes:
    output = outputs.computed("w", "nvfp4-dequantize", refs, {"dtype": dtype, "divides": divides})
    assert output.shape == (*refs[0].shape[:-1], refs[0].shape[-1] * 2)
    payload = output.payload
    assert isinstance(payload, Computed)
    return b"".join(stream.stream(payload, source, 0, payload.nbytes))


def expected(elements: np.ndarray, scales: np.ndarray, second: float, *, divides: bool) -> np.ndarray:
    """Step by step, each a float32, as the tools do it."""
    wide = numbers("F8_E4M3", scales.astype(np.uint8).tobytes()).reshape(scales.shape).astype(np.float32)
    factors = wide / np.float32(second) if divides else wide * np.float32(second)
    values = np.array(E2M1, np.float32)[elements]
    values[elements == 8] = -0.0
    return np.asarray(values * np.repeat(factors.astype(np.float32), 16, axis=-1), np.float32)


@pytest.mark.parametrize("divides", [True, False])
@given(second=st.floats(2.0**-100, 2.0**100, width=32))
def test_every_element_under_every_scale(divides: bool, second: float) -> None:
    """And the promise: within its loss of the true product."""
    scales = np.array([code for code in range(256) if code & 0x7F != 0x7F]).reshape(2, -1)
    elements = np.tile(np.arange(16, dtype=np.uint8), (2, scales.shape[1]))
    refs, source = stored(elements, scales, second)
    wanted = expected(elements, scales, second, divides=divides)
    assert made(refs, source, "F32", divides=divides) == wanted.tobytes()
    halves = made(refs, source, "BF16", divides=divides)
    assert halves == upper_halves(wanted).tobytes()
    exact = np.array(E2M1)[elements] * np.repeat(numbers("F8_E4M3", scales.astype(np.uint8).tobytes()), 16).reshape(
        2, -1
    )
    exact = exact / second if divides else exact * second
    loss = outputs.loss_of(outputs.computed("w", "nvfp4-dequantize", refs, {"dtype": "BF16", "divides": divides}))
    assert loss is not None
    off = np.abs(numbers("BF16", halves).reshape(exact.shape) - exact)
    assert (off <= loss.relative * np.abs(exact) + loss.absolute).all()


def test_stacks(tmp_path: object) -> None:
    random = np.random.default_rng(0)
    elements, scales = random.integers(0, 16, (3, 5, 48), np.uint8), random.integers(0, 0x7E, (3, 5, 3), np.uint8)
    refs, source = stored(elements, scales, 0.3)
    assert made(refs, source, "F32", divides=False) == expected(elements, scales, 0.3, divides=False).tobytes()


@pytest.mark.parametrize(("code", "second"), [(0x7F, 1.0), (0x38, 0.0), (0x38, math.nan), (0x38, math.inf)])
def test_what_is_no_number_is_refused(code: int, second: float) -> None:
    refs, source = stored(np.full((1, 16), 2, np.uint8), np.array([[code]]), second)
    with pytest.raises(ContainerError, match="no number"):
        made(refs, source, "BF16", divides=second == 0.0)
