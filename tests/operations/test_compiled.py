"""Compiled loops give the bits of numpy's, for every code, scale and place in a block."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.dtypes import DTYPES
from ckptkit.model.numbers import floats_of_bits, numbers, upper_halves, value_of
from ckptkit.operations import compiled, dequantize, machine, quantize
from ckptkit.operations.operation import OperationError, Piece
from ckptkit.operations.quantize import Arithmetic

SOURCES = ("F8_E4M3", "F8_E4M3FNUZ")
BLOCKS = ([0, 0], [1, 0], [128, 128], [128, 100], [3, 5], [1, 7], [0, 4], [5, 0])


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WARM_UP", -1)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", -1)


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


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize(("source", "code"), [("F8_E4M3", 0x7F), ("F8_E4M3", 0xFF), ("F8_E4M3FNUZ", 0x80)])
def test_a_code_that_is_no_number_is_left_to_numpy(source: str, code: int, dtype: str) -> None:
    codes, grid = codes_of(source, 3, 100), np.ones((1, 1), np.float32)
    assert compiled.dequantized(source, codes, grid, [0, 0], 0, dtype) is not None
    codes[2, 97] = code
    assert compiled.dequantized(source, codes, grid, [0, 0], 0, dtype) is None


def test_a_small_checkpoint_does_not_wait_for_loops(tmp_path: Path) -> None:
    script = """
import sys, numpy as np
from ckptkit.operations import compiled, machine
codes, grid = np.zeros((4, 4), np.uint8), np.ones((1, 1), np.float32)
make = lambda: compiled.dequantized("F8_E4M3", codes, grid, [0, 0], 0, "BF16")
assert make() is None
assert machine.is_installed() and not {"numba", "llvmlite"} & set(sys.modules)
compiled.WARM_UP = 0
assert (make() is not None) == (sys.argv[1] == "kept") and "numba" not in sys.modules
compiled.LONG_WARM_UP = 0
assert make() is not None and ("numba" in sys.modules) == (sys.argv[1] != "kept")
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for first in ("compiled", "kept"):
        subprocess.run([sys.executable, "-c", script, first], check=True, env=environment)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder that holds nothing yet, and a process that has loaded nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caches = (machine._loops, machine._file, machine.is_kept)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_a_damaged_file_is_not_loaded(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_compiled", lambda: b"machine code")
    assert machine._compiled_and_kept() == b"machine code" == machine._kept()
    (file,) = alone.rglob("*.o")
    file.chmod(0o620)
    assert machine._kept() is None, "somebody else could have written it"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"f")
    assert machine._kept() is None
    file.write_bytes(b"")
    assert machine._kept() is None


def test_what_cannot_be_kept_is_used(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "ckptkit").write_bytes(b"no folder")
    monkeypatch.setattr(machine, "_compiled", lambda: b"machine code")
    assert machine._compiled_and_kept() == b"machine code"


@pytest.mark.usefixtures("alone", "warm")
@pytest.mark.parametrize("why", ["absent", "changed", "foreign calls"])
def test_without_loops_numpy_does_it(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "absent":
        monkeypatch.setitem(sys.modules, "ckptkit.operations.loops", None)
    elif why == "changed":
        monkeypatch.delattr("numba.cfunc")
    else:
        monkeypatch.setattr(machine, "_optimize", lambda module, target: None)
    grid = np.ones((1, 1), np.float32)
    try:
        assert compiled.dequantized("F8_E4M3", codes_of("F8_E4M3", 1, 254), grid, [0, 0], 0, "BF16") is None
    finally:
        machine._loops.cache_clear()


def test_every_loop_has_a_signature() -> None:
    from ckptkit.operations.loops import LOOPS

    assert [loop.name for loop in LOOPS] == list(machine.SIGNATURES)


def bits_of(dtype: str, values):  # type: ignore[no-untyped-def]
    kind = {"F16": np.float16, "F32": np.float32}.get(dtype)
    with np.errstate(over="ignore"):
        return values.astype(kind).view(f"<u{kind().itemsize}") if kind else upper_halves(values.astype(np.float32))


ARITHMETICS = {
    "own": Arithmetic(),
    "F32": Arithmetic(scale="F32", quotient="F32"),
    "reciprocal": Arithmetic(scale="F32", quotient="F32", reciprocal=True),
    "F32 scale": Arithmetic(scale="F32"),
}


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_codes_and_magnitudes_are_those_of_numpy(dtype: str, arithmetic: str, data: st.DataObject) -> None:
    """Per channel, per tensor, in blocks that do and do not divide the shape, of subnormal numbers and of huge ones."""
    rows, columns = data.draw(st.integers(1, 300)), data.draw(st.sampled_from([1, 7, 64, 130, 256, 300]))
    block = data.draw(st.sampled_from([[1, 0], [0, 0], [128, 128], [3, 5], [5, 100], [1, 32]]))
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    power = data.draw(st.integers(-40, 30) if dtype != "F16" else st.integers(-7, 3))
    values = random.standard_normal((rows, columns)) * 10.0 ** (power + random.integers(-2, 2, (rows, columns)))
    values[random.random(values.shape) < 0.2] *= data.draw(st.sampled_from([0.0, -0.0, 1e-6]))
    bits = bits_of(dtype, values)
    parameters = ARITHMETICS[arithmetic].parameters(dtype, block)
    wanted = quantize._largest_bits(quantize._magnitude_bits(bits), block if block[0] else [1, 0])
    found = compiled.magnitudes(bits, block)
    assert found is not None and np.array_equal(found, wanted if block[0] else wanted.max(keepdims=True))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        grid = quantize.scales_of(floats_of_bits(dtype, found), parameters)
        codes = bytes(quantize.codes_of(bits, dtype, grid, parameters))
        assert codes == quantize._codes(bits, dtype, grid, parameters).tobytes()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("exponent", [-126, -120, -7, 0, 7, 119])
def test_neither_ties_nor_a_reciprocal_change_a_bf16_quotient(exponent: int) -> None:
    """All BF16 numbers that a scale may have above it, over all 128 mantissas of a BF16 scale, divided and rounded."""
    weights = np.arange(1 << 16, dtype="<u2")
    values = numbers("BF16", weights.tobytes())
    for mantissa in range(128):
        scale = np.float32(2.0**exponent * (1 + mantissa / 128)).reshape(1, 1)
        bits = weights[np.abs(values) <= 460 * float(scale[0, 0])].reshape(1, -1)
        parameters = Arithmetic().parameters("BF16", [0, 0])
        assert quantize.never_ties("BF16", scale, "BF16")
        wanted = np.empty(bits.shape, np.uint8)
        quantize._encode(floats_of_bits("BF16", bits) / scale, "BF16", wanted)
        codes = compiled.quantized(bits, "BF16", scale, [0, 0], "BF16", reciprocal=False, tie_free=True)
        assert codes is not None and np.array_equal(codes, wanted)
        assert np.array_equal(quantize._codes(bits, "BF16", scale, parameters), wanted)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("dtype", ["BF16", "F16"])
@pytest.mark.parametrize("scale", [1.0, 0.75, 2.0**-20, 2.0**-133])
def test_every_16_bit_number_gets_the_code_that_numpy_gives(dtype: str, scale: float) -> None:
    bits = np.arange(1 << 16, dtype="<u2")
    bits = bits[np.isfinite(numbers(dtype, bits.tobytes()))].reshape(2, -1)
    grid = np.full((1, 1), scale, np.float32)
    for arithmetic in ARITHMETICS.values():
        parameters = arithmetic.parameters(dtype, [0, 0])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            codes = bytes(quantize.codes_of(bits, dtype, grid, parameters))
            assert codes == quantize._codes(bits, dtype, grid, parameters).tobytes()


@pytest.mark.usefixtures("warm")
def test_every_float32_near_a_half_way_case_gets_the_code_that_numpy_gives() -> None:
    held = np.array([value_of("F8_E4M3", code) for code in range(0x7F)])
    middles = ((held[:-1] + held[1:]) / 2).astype(np.float32).view(np.int32)
    near = (middles[:, None] + np.arange(-40, 41)).astype(np.int32).ravel()
    bits = np.concatenate([near, near | np.int32(-(1 << 31))]).view(np.uint32).reshape(2, -1)
    parameters = Arithmetic().parameters("F32", [0, 0])
    grid = np.ones((1, 1), np.float32)
    codes = bytes(quantize.codes_of(bits, "F32", grid, parameters))
    assert codes == quantize._codes(bits, "F32", grid, parameters).tobytes()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_the_place_of_what_is_not_finite_is_told(dtype: str, wrong: float) -> None:
    values = np.ones((3, 40))
    values[1, 7] = wrong
    with pytest.raises(OperationError, match=r"\[1, 7\].* is not finite"):
        quantize.magnitudes_of(bits_of(dtype, values), dtype, [1, 0])


@pytest.mark.parametrize("warm_up", [-1, 1 << 60])
@pytest.mark.parametrize("code", [0x38, 0x7F])
def test_products_for_measuring_are_not_rounded_and_keep_what_is_no_number(
    warm_up: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "WARM_UP", warm_up)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", warm_up)
    codes = codes_of("F8_E4M3", 7, 10)
    codes[6, 9] = code
    scales = np.random.default_rng(0).standard_normal((4, 4)).astype("<f4")
    pieces = (Piece("F8_E4M3", (5, 10), codes[2:].tobytes(), 2), Piece("F32", (3, 4), scales[1:].tobytes(), 1))
    found = dequantize.products(pieces, {"block_shape": [2, 3]}, range(2, 7))
    values = numbers("F8_E4M3", codes[2:].tobytes()).reshape(5, 10).astype(np.float32)
    assert np.array_equal(found, values * scales[np.arange(2, 7) // 2][:, np.arange(10) // 3], equal_nan=True)
    assert np.isnan(found[4, 9]) == (code == 0x7F)
