"""The error of values beside a reference, against numpy's float64 over everything at once."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckptkit.errors import CkptkitError
from ckptkit.measure import errors
from ckptkit.measure.errors import Measured, WorstElement, measure
from ckptkit.model.numbers import value_of
from ckptkit.operations import compiled

Pair = tuple[Any, Any]


@pytest.fixture(params=["numpy", "compiled"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By numpy alone, and by compiled loops where they can."""
    monkeypatch.setattr(compiled, "WARM_UP", -1 if request.param == "compiled" else math.inf)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", -1)


def drawn(rows: int, columns: int, seed: int = 0) -> Pair:
    """A matrix with a gain for each row, and the same with some noise."""
    generator = np.random.default_rng(seed)
    reference = generator.standard_normal((rows, columns)) * np.exp(generator.standard_normal((rows, 1)))
    result = reference * (1 + 0.03 * generator.standard_normal((rows, columns)))
    return reference.astype(np.float32), result.astype(np.float32)


def expected(reference: Any, result: Any) -> Measured:
    """The same figures without stripes, of finite values."""
    left, right = reference.astype(np.float64), result.astype(np.float64)
    off = np.abs(right - left)
    row, column = (int(n) for n in np.unravel_index(np.argmax(off), off.shape))
    worst = WorstElement(row, column, float(left[row, column]), float(right[row, column])) if off.any() else None
    zero = ~right.any(axis=1)
    return Measured(
        elements=left.size,
        equal=int((left == right).sum()),
        squares=math.fsum((left**2).ravel()),
        error_squares=math.fsum((off**2).ravel()),
        worst=worst,
        rows=len(left),
        zero_rows=int(zero.sum()),
        dead_rows=int((zero & left.any(axis=1)).sum()),
    )


def assert_equal(found: Measured, wanted: Measured) -> None:
    assert found.squares == pytest.approx(wanted.squares, rel=1e-12, abs=0)
    assert found.error_squares == pytest.approx(wanted.error_squares, rel=1e-12, abs=0)
    sums = {"squares": 0.0, "error_squares": 0.0}
    assert {**vars(found), **sums} == {**vars(wanted), **sums}


def in_stripes(reference: Any, result: Any, height: int) -> list[Measured]:
    starts = range(0, len(reference), height)
    return [measure(reference[at : at + height], result[at : at + height], first_row=at) for at in starts]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (300, 513), (2, 70_000)])
def test_the_figures_are_those_of_float64(rows: int, columns: int) -> None:
    reference, result = drawn(rows, columns)
    found = measure(reference, result)
    assert_equal(found, expected(reference, result))
    left, right = reference.astype(np.float64), result.astype(np.float64)
    relative = np.linalg.norm(right - left) / np.linalg.norm(left)
    assert found.relative_error == pytest.approx(relative, rel=1e-12)
    assert found.snr_db == pytest.approx(-20 * math.log10(relative), rel=1e-12)


MATRICES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda shape: st.tuples(
        *(
            arrays.arrays(np.float32, shape, elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.just(0.0))
            for _ in "ab"
        )
    )
)


@given(
    MATRICES, st.integers(1, 9), st.integers(1, 20), st.randoms(use_true_random=False), st.sampled_from([-1, 1 << 60])
)
def test_stripes_add_up_in_any_order(pair: Pair, height: int, chunk: int, random: Any, warm_up: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "WARM_UP", warm_up)
        patch.setattr(compiled, "LONG_WARM_UP", -1)
        patch.setattr(errors, "_CHUNK", chunk)
        patch.setattr(errors, "_RUN", max(1, chunk // 2))
        parts = in_stripes(*pair, height)
    random.shuffle(parts)
    assert_equal(sum(parts, Measured()), expected(*pair))


@given(MATRICES)
def test_nothing_differs_from_itself(pair: Pair) -> None:
    found = measure(pair[0], pair[0].copy())
    assert (found.equal, found.relative_error, found.worst) == (found.elements, 0.0, None)
    assert found.snr_db == math.inf and found.to_json()["snr_db"] is None


@given(MATRICES, st.data(), st.sampled_from([-1, 1 << 60]))
def test_what_is_no_number_is_counted_and_left_out(pair: Pair, data: st.DataObject, warm_up: int) -> None:
    bad = data.draw(st.sets(st.integers(0, pair[0].size - 1), max_size=3))
    clean = [part.copy() for part in pair]
    for place in bad:
        pair[data.draw(st.integers(0, 1))].flat[place] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
        for part in clean:
            part.flat[place] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "WARM_UP", warm_up)
        patch.setattr(compiled, "LONG_WARM_UP", -1)
        found, wanted = measure(*pair), expected(*clean)
    assert found.not_finite == len(bad)
    assert found.equal == wanted.equal - len(bad)
    assert found.squares == pytest.approx(wanted.squares, rel=1e-12)
    assert found.error_squares == pytest.approx(wanted.error_squares, rel=1e-12)
    assert found.worst == wanted.worst


@pytest.mark.usefixtures("either")
def test_infinities_on_both_sides_are_no_equal_numbers() -> None:
    both = np.array([[math.inf, 1.0, math.nan, 2.0]], np.float32)
    found = measure(both, both)
    assert (found.equal, found.not_finite, found.squares) == (2, 2, 5.0)


@pytest.mark.usefixtures("either")
def test_the_worst_element_knows_its_row_in_the_weight_and_the_first_one_counts() -> None:
    reference, result = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    reference[0, 1], result[0, 1], result[1, 2] = 2, 2.5, -0.5
    found = measure(reference, result, first_row=40)
    assert found.worst == WorstElement(40, 1, 2.0, 2.5)
    assert (found.worst.absolute, found.worst.relative) == (0.5, 0.25)
    later = measure(reference[1:], result[1:], first_row=1041)
    assert (later + found).worst == found.worst == (found + later).worst
    assert later.worst is not None and later.worst.relative == math.inf
    assert later.to_json()["worst"]["relative"] is None


def test_rows_that_are_zero_and_rows_that_should_not_be() -> None:
    reference, result = (np.ones((6, 20), np.float32) for _ in "ab")
    result[1:4] = 0
    reference[2] = 0
    result[4, :19] = 0  # zero in all that is looked at first
    reference[5] = 0
    found = measure(reference, result)
    assert (found.rows, found.zero_rows, found.dead_rows) == (6, 3, 2)


def test_a_stack_is_measured_as_the_rows_of_all_its_experts() -> None:
    reference, result = drawn(12, 5)
    flat, stacked = (measure(reference.reshape(*s, 5), result.reshape(*s, 5)) for s in ((12,), (3, 4)))
    assert flat == stacked and flat.rows == 12


def test_nothing_is_measured_of_nothing() -> None:
    for shape in ((0, 4), (4, 0), (0,)):
        empty = np.zeros(shape, np.float32)
        assert measure(empty, empty) == Measured()
    assert Measured().relative_error == 0.0 and Measured().saturated_share is None


@pytest.mark.parametrize(
    ("dtype", "largest", "reach"),
    [("F8_E4M3", 448, 464), ("F8_E5M2", 57344, 61440), ("F8_E4M3FNUZ", 240, 248), ("F8_E5M2FNUZ", 57344, 61440)],
)
def test_a_code_is_clipped_where_rounding_does_not_explain_it(dtype: str, largest: float, reach: float) -> None:
    end = max(code for code in range(128) if value_of(dtype, code) == largest)
    scale = np.float32(0.25)
    codes = np.array([[end, end, end | 0x80, end | 0x80, end - 1, 0]], np.uint8)
    result = np.array([[value_of(dtype, int(code)) for code in codes[0]]], np.float32) * scale
    beyond = np.nextafter(np.float32(reach), np.float32(math.inf))
    reference = np.array([[reach, beyond, -reach, -beyond, beyond, beyond]], np.float32) * scale
    found = measure(reference, result, codes=codes, dtype=dtype)
    assert (found.codes, found.saturated, found.clipped) == (6, 4, 2)
    assert (found.saturated_share, found.clipped_share) == (4 / 6, 2 / 6)
    without = measure(reference, result)
    assert without.clipped_share is None and without.to_json()["saturated_share"] is None
    half = [
        measure(reference[:, part], result[:, part], codes=codes[:, part], dtype=dtype)
        for part in (slice(3), slice(3, 6))
    ]
    assert (sum(half, Measured()).codes, sum(half, Measured()).clipped) == (6, 2)


def test_a_reference_of_zeros() -> None:
    zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    found = measure(zeros, ones)
    assert (found.relative_error, found.snr_db) == (math.inf, -math.inf)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (document["relative_error"], document["snr_db"]) == (None, None)


def test_what_does_not_fit_is_refused() -> None:
    ones, codes = np.ones((2, 3), np.float32), np.ones((2, 3), np.uint8)
    with pytest.raises(CkptkitError, match=r"one shape are measured, not \[2, 3\] and \[3, 2\]"):
        measure(ones, ones.reshape(3, 2))
    with pytest.raises(CkptkitError, match=r"not \[2, 3\] and \[2, 3\] and \[6\]"):
        measure(ones, ones, codes=codes.reshape(-1), dtype="F8_E4M3")
    with pytest.raises(CkptkitError, match="float32 values are measured, not float32 and float64"):
        measure(ones, ones.astype(np.float64))
    with pytest.raises(CkptkitError, match="codes are bytes of an FP8 type, not uint8 of F8_E8M0"):
        measure(ones, ones, codes=codes, dtype="F8_E8M0")


def test_compiled_loops_are_used_and_left_alone_where_some_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, result = drawn(30, 50)
    monkeypatch.setattr(compiled, "WARM_UP", math.inf)
    assert compiled.error_sums(reference.ravel(), result.ravel()) is None, "loops are not loaded for so few"
    monkeypatch.setattr(compiled, "WARM_UP", -1)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", -1)
    sums = compiled.error_sums(reference.ravel(), result.ravel())
    assert sums is not None and sums.place == int(np.argmax(np.abs(result.astype(float) - reference.astype(float))))
    result[3, 3] = math.nan
    assert compiled.error_sums(reference.ravel(), result.ravel()) is None
