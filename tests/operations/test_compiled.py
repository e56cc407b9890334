"""Compiled loops give the bits of numpy's, for every code, scale and place in a block."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.dtypes import DTYPES
from ckptkit.model.numbers import numbers
from ckptkit.operations import compiled, dequantize
from ckptkit.operations.operation import OperationError, Piece

SOURCES = ("F8_E4M3", "F8_E4M3FNUZ")
BLOCKS = ([0, 0], [1, 0], [128, 128], [128, 100], [3, 5], [1, 7], [0, 4], [5, 0])


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WARM_UP", -1)


def codes_of(source: str, rows: int, columns: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Every code that is a number, several times, in any order."""
    good = np.array([code for code in range(256) if code not in DTYPES[source].nan_codes], np.uint8)
    return np.random.default_rng(seed).permutation(np.resize(good, rows * columns)).reshape(rows, columns)


def both(source: str, codes, grid, block: list[int], first: int, dtype: str) -> tuple[bytes, bytes]:  # type: ignore[no-untyped-def]
    """What the loop makes, and what numpy makes of the same."""
    made = compiled.dequantized(source, codes, grid, block, first, dtype)
    assert made is not None
    return bytes(made), dequantize.rounded(dequantize._product(source, codes, grid, block, first), dtype)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_bits_are_those_of_numpy(source: str, block: list[int], dtype: str) -> None:
    random = np.random.default_rng(1)
    for rows, columns, first in itertools.product((1, 37, 300), (1, 130, 256), (0, 1, 2)):
        first = min(first, max(block[0] - 1, 0))
        height = 1 if block[0] == 0 else -(-(rows + first) // block[0])
        width = 1 if block[1] == 0 else -(-columns // block[1])
        grid = (random.standard_normal((height, width)) * 10.0 ** random.integers(-45, 30)).astype(np.float32)
        made, wanted = both(source, codes_of(source, rows, columns), grid, block, first, dtype)
        assert made == wanted


@pytest.mark.usefixtures("warm")
@settings(max_examples=200, deadline=None)
@given(scale=st.floats(width=32, allow_nan=False, allow_infinity=False), dtype=st.sampled_from(["BF16", "F32"]))
def test_any_scale(scale: float, dtype: str) -> None:
    """Down to the smallest subnormal one; where a product may be beyond the type, numpy says so."""
    codes, grid = codes_of("F8_E4M3", 2, 254), np.full((1, 1), scale, np.float32)
    made = compiled.dequantized("F8_E4M3", codes, grid, [0, 0], 0, dtype)
    try:
        with np.errstate(over="ignore"):
            wanted = dequantize.rounded(dequantize._product("F8_E4M3", codes, grid, [0, 0], 0), dtype)
    except OperationError:
        assert made is None
        return
    assert made is None or bytes(made) == wanted
    assert made is not None or abs(scale) > 7e35


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e36])
def test_what_is_no_number_is_left_to_numpy(scale: float) -> None:
    grid = np.full((1, 1), scale, np.float32)
    assert compiled.dequantized("F8_E4M3", codes_of("F8_E4M3", 1, 254), grid, [0, 0], 0, "BF16") is None


def test_a_small_checkpoint_does_not_wait_for_numba() -> None:
    script = """
import sys, numpy as np
from ckptkit.operations import compiled
codes, grid = np.zeros((4, 4), np.uint8), np.ones((1, 1), np.float32)
assert compiled.dequantized("F8_E4M3", codes, grid, [0, 0], 0, "BF16") is None
assert compiled.is_installed() and "numba" not in sys.modules
compiled.WARM_UP = 0
assert compiled.dequantized("F8_E4M3", codes, grid, [0, 0], 0, "BF16") is not None and "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.usefixtures("warm")
def test_without_numba_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ckptkit.operations.loops", None)
    compiled._loops.cache_clear()
    try:
        grid = np.ones((1, 1), np.float32)
        assert compiled.dequantized("F8_E4M3", codes_of("F8_E4M3", 1, 254), grid, [0, 0], 0, "BF16") is None
    finally:
        compiled._loops.cache_clear()


@pytest.mark.parametrize("warm_up", [-1, 1 << 60])
@pytest.mark.parametrize("code", [0x38, 0x7F])
def test_products_for_measuring_are_not_rounded_and_keep_what_is_no_number(
    warm_up: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "WARM_UP", warm_up)
    codes = codes_of("F8_E4M3", 7, 10)
    codes[6, 9] = code
    scales = np.random.default_rng(0).standard_normal((4, 4)).astype("<f4")
    pieces = (Piece("F8_E4M3", (5, 10), codes[2:].tobytes(), 2), Piece("F32", (3, 4), scales[1:].tobytes(), 1))
    found = dequantize.products(pieces, {"block_shape": [2, 3]}, range(2, 7))
    values = numbers("F8_E4M3", codes[2:].tobytes()).reshape(5, 10).astype(np.float32)
    assert np.array_equal(found, values * scales[np.arange(2, 7) // 2][:, np.arange(10) // 3], equal_nan=True)
    assert np.isnan(found[4, 9]) == (code == 0x7F)
