"""Scales in other forms, and both E4M3 encodings: every code, every dtype, exact or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import ContainerError
from ckptkit.model.numbers import numbers, value_of
from ckptkit.operations import outputs
from tests.operations.test_operations import made, stored

FN, FNUZ = "F8_E4M3", "F8_E4M3FNUZ"


def relabelled(source: str, target: str, data: bytes) -> bytes:
    tensor, files = stored(source, (1, len(data)), data)
    output = outputs.computed("w", "relabel", (tensor,), {"dtype": target})
    assert outputs.loss_of(output) is None and output.dtype == target
    return made(output, files)


def test_every_code_of_either_encoding() -> None:
    for code in range(256):
        byte = bytes([code])
        if code in (0x7F, 0xFF, 0x80):
            with pytest.raises(ContainerError, match=r"the element at \[0, 0\] of a stripe is"):
                relabelled(FNUZ, FN, byte)
        else:
            assert value_of(FN, relabelled(FNUZ, FN, byte)[0]) == 2 * value_of(FNUZ, code)
        if code in (0x7F, 0xFF):
            with pytest.raises(ContainerError, match="is no number"):
                relabelled(FN, FNUZ, byte)
        else:
            assert value_of(FNUZ, relabelled(FN, FNUZ, byte)[0]) == value_of(FN, code) / 2
    assert relabelled(FN, FNUZ, b"\x80") == b"\x00"


def test_the_first_code_that_does_not_fit_is_named() -> None:
    tensor, files = stored(FNUZ, (3, 4), bytes(9) + b"\x7f" + bytes(2))
    with pytest.raises(ContainerError, match=r"the element at \[2, 1\] of a stripe is 240 or -240"):
        made(outputs.computed("w", "relabel", (tensor,), {"dtype": FN}), files)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F8_E8M0"])
@pytest.mark.parametrize("power", [-1, 1])
def test_every_scale_is_halved_or_doubled_exactly_or_refused(dtype: str, power: int) -> None:
    width = 1 if dtype == "F8_E8M0" else 2
    for code in range(1 << 8 * width) if width == 1 else range(0, 1 << 16, 7):
        data = code.to_bytes(width, "little")
        tensor, files = stored(dtype, (1,), data)
        output = outputs.computed("s", "times-two", (tensor,), {"power": power})
        value = numbers(dtype, data)[0]
        try:
            found = numbers(dtype, made(output, files))[0]
        except ContainerError:
            if dtype == "F8_E8M0":
                assert code in (0, 254, 255)
            else:  # no number, or beyond the largest, or half of an odd subnormal one
                tiny = 2.0 ** (-126 if dtype == "BF16" else -14)
                assert not np.isfinite(value) or abs(value) < 2 * tiny or abs(value) >= np.ldexp(1.0, 15)
            continue
        assert found == value * 2.0**power


@given(
    st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=20), st.sampled_from(["F32", "BF16", "F16", "F8_E8M0"])
)
def test_any_scale_in_any_type_has_its_value_or_is_refused(bits: list[int], wanted: str) -> None:
    data = np.array(bits, "<u4").tobytes()
    tensor, files = stored("F32", (len(bits),), data)
    output = outputs.computed("s", "exact-cast", (tensor,), {"dtype": wanted})
    assert outputs.loss_of(output) is None
    values = numbers("F32", data)
    try:
        found = numbers(wanted, made(output, files))
    except ContainerError as error:
        assert "the scale" in str(error)
        if wanted == "F32":
            assert not np.isfinite(values).all()
        return
    assert np.array_equal(found, values)


def test_every_power_of_two_goes_to_e8m0_and_back() -> None:
    codes = bytes(range(255))
    tensor, files = stored("F8_E8M0", (255,), codes)
    wide = made(outputs.computed("s", "exact-cast", (tensor,), {"dtype": "F32"}), files)
    tensor, files = stored("F32", (255,), wide)
    assert made(outputs.computed("s", "exact-cast", (tensor,), {"dtype": "F8_E8M0"}), files) == codes
    tensor, files = stored("F32", (2,), np.array([0.5, 0.3], "<f4").tobytes())
    with pytest.raises(ContainerError, match=r"the scale 1 is 0\.3: no power of two"):
        made(outputs.computed("s", "exact-cast", (tensor,), {"dtype": "F8_E8M0"}), files)
