"""Small cases worked out by hand, where numpy does the work: blocks of two rows, zeros of either sign, and copies."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ckptkit.model.numbers import numbers
from ckptkit.operations import machine, mx, quantize
from ckptkit.operations.dequantize import rounded
from ckptkit.operations.operation import OperationError, Piece

PLAIN = quantize.Arithmetic(scale="F32", quotient="F32")


@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_every_block_has_its_own_scale_and_weights_stay_as_they_are(height: int, dtype: str) -> None:
    """Row n of the weight is 2**n: under the scale of its own block a row has the code that says so."""
    rows = np.repeat(2.0 ** np.arange(6, dtype=np.float32), 4).reshape(6, 4)
    bits = rows.view("<u4") if dtype == "F32" else (rows.view("<u4") >> 16).astype("<u2")
    before = bits.copy()
    grid = np.float32(2.0) ** np.arange(0, 6, height, dtype=np.float32).repeat(2).reshape(-1, 2)
    codes = quantize._codes(bits, dtype, grid, PLAIN.parameters(dtype, [height, 2]))
    found = numbers("F8_E4M3", codes.tobytes()).reshape(6, 4)
    assert np.array_equal(found, np.repeat([2.0 ** (row % height) for row in range(6)], 4).reshape(6, 4))
    assert np.array_equal(bits, before)


@pytest.mark.parametrize(
    ("magnitude", "arithmetic", "scale"),
    [
        (0.0, quantize.Arithmetic(scale="F32", zero={"F32": 0.5}), 0.5),
        (0.0, quantize.Arithmetic(scale="F32"), 1.0),
        (0.0, quantize.Arithmetic(scale="F32", least={"F32": 448.0}, zero={"F32": 0.5}), 0.5),
        (448.0, quantize.Arithmetic(scale="F32"), 1.0),
        (1.0, quantize.Arithmetic(scale="F32", least={"F32": 448.0}), 1.0),
        (896.0, quantize.Arithmetic(scale="F32", least={"F32": 448.0}), 2.0),
        (2.0**-149, quantize.Arithmetic(scale="F32", zero={"F32": 0.25}), 0.25),
        (448 * 2.0**-130, quantize.Arithmetic(scale="F32", zero={"F32": 0.25}), 2.0**-130),
        (448 * 2.0**-130, quantize.Arithmetic(scale="F32", zero={"F32": 0.25}, reciprocal=True), 0.25),
    ],
)
def test_the_scale_of_a_largest_magnitude(magnitude: float, arithmetic: quantize.Arithmetic, scale: float) -> None:
    found = quantize.scales_of(np.array([[magnitude]], np.float32), arithmetic.parameters("F32", [1, 0]))
    assert found.tolist() == [[scale]]


@pytest.mark.parametrize(
    ("kind", "code", "is_number"),
    [
        ("F4", 0x00, False),
        ("F4", 0x88, False),
        ("F4", 0x80, False),
        ("F4", 0x08, False),
        ("F4", 0x01, True),
        ("F4", 0x10, True),
        ("F8_E4M3", 0x80, False),
        ("F8_E4M3", 0x08, True),
    ],
)
def test_zeros_of_either_sign_are_no_numbers_of_a_group(kind: str, code: int, is_number: bool) -> None:
    groups = np.zeros((2, 1, 4), np.uint8)
    groups[1, 0, 3] = code
    assert mx._any_number(kind, groups).tolist() == [[False], [is_number]]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.0, 0x00),
        (-0.0, 0x80),
        (1.0, 0x38),
        (-1.0, 0xB8),
        (448.0, 0x7E),
        (2.0**-9, 0x01),
        (2.0**-10, 0x00),
        (-(2.0**-10), 0x80),
        (1.5 * 2.0**-9, 0x02),
        (1.0625, 0x38),
        (1.1875, 0x3A),
        (float("nan"), 0x7F),
    ],
)
def test_the_nearest_code(value: float, code: int) -> None:
    assert mx.nearest(value) == code


def test_blocks_of_groups() -> None:
    """Groups of 32 columns, blocks of two rows and 64 columns, of which the last are cut."""
    codes = np.array([[1, 2, 0], [4, 3, 0], [0, 9, 7]], np.uint8)
    assert mx.block_exponents(codes, (2, 64)).tolist() == [[4, 0], [9, 7]]
    assert mx.least_exponents(codes, (2, 64)).tolist() == [[1, 256], [9, 7]]
    assert mx.scale_exponents(np.array([0, 127, 133], np.int16), "F4").tolist() == [0, -6, 0]
    assert mx.scale_exponents(np.array([0, 127, 133], np.int16), "F8_E4M3").tolist() == [0, 0, 6]


@pytest.mark.parametrize(("code", "dtype"), [(5, "F8_E8M0"), (1, "F8_E8M0"), (5, "F32")])
def test_scales_below_the_least(code: int, dtype: str) -> None:
    parameters = {"elements": "F4", "block_shape": [1, 32], "dtype": dtype}
    scale = (Piece("F8_E8M0", (1, 1), bytes([code]), 0),)
    if dtype == "F32":
        assert numbers("F32", mx._scales_compute(scale, parameters, range(1))) == 2.0 ** (5 - 127 - 6)
        return
    with pytest.raises(OperationError) as error:
        mx._scales_compute(scale, parameters, range(1))
    assert str(error.value) == "a scale is below the least that E8M0 has"
    assert mx._scales_compute((scale[0]._replace(data=b"\x06"),), parameters, range(1)) == b"\0"


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (np.nan, "F32", "is no number"),
        (np.nan, "BF16", "is no number"),
        (np.inf, "F32", "is more than F32 holds: inf"),
        (-np.inf, "F16", "is more than F16 holds: -inf"),
        (65536.0, "F16", "is more than F16 holds: 65536; BF16 and F32 hold it"),
        (3.4e38, "BF16", "is more than BF16 holds: 3.4e+38"),
    ],
)
def test_what_a_type_does_not_hold_is_named(value: float, dtype: str, words: str) -> None:
    values = np.array([[1.0, 2.0], [3.0, value]], np.float32)
    with np.errstate(all="ignore"), pytest.raises(OperationError) as error:
        rounded(values, dtype)
    assert str(error.value) == f"the element at [1, 1] of a stripe {words}"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "LOCALAPPDATA": "/l"}, "/x"),
        ({"LOCALAPPDATA": "/l"}, "/l"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache"),
        ({}, "/home/me/.cache"),
    ],
)
def test_where_machine_code_is_kept(environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert machine._cache_folder() == Path(folder) / "ckptkit" / "loops"


@pytest.mark.skipif(sys.platform == "win32", reason="files have no owners of this kind there")
@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o644, True), (0o620, False), (0o602, False)])
def test_machine_code_that_others_could_have_written_is_not_loaded(
    mode: int, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loops.o"
    file.write_bytes(machine._digest(b"code") + b"code")
    file.chmod(mode)
    monkeypatch.setattr(machine, "_file", lambda: file)
    assert machine._kept() == (b"code" if taken else None)
