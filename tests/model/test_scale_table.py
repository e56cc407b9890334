"""Scales judged together are judged as each alone would be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.model.scale_table import ScaleTable
from ckptkit.model.values import ScaleValues, scale_values
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef
from tests.raw import MemorySource

_WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "F8_E8M0": 1, "I32": 4}
_ONE = bytes.fromhex("803f")

CONDITIONS: tuple[Callable[[ScaleValues], object], ...] = (
    lambda values: values.zeros or values.invalid,
    lambda values: values.maximum > 1.0,
    lambda values: values.minimum < 1.0,
)


def container(data: bytes) -> Container:
    return Container(MemorySource({"a": data, "b": data}), (), None, {}, ())


def scale(number: int, start: int, count: int = 1, dtype: str = "BF16", shard: str = "a") -> TensorRef:
    return TensorRef(f"{number}.scale", dtype, (count,), shard, start, count * _WIDTHS[dtype])


@st.composite
def layouts(draw: st.DrawFn) -> tuple[bytes, list[TensorRef]]:
    """A file and the scales in it, in any order: mostly neighbours of one dtype, large ones among them."""
    found, offset = [], draw(st.integers(0, 3))
    usual = draw(st.sampled_from(sorted(_WIDTHS)))
    for number in range(draw(st.integers(1, 12))):
        dtype = draw(st.sampled_from([usual] * 8 + sorted(_WIDTHS)))
        found.append(scale(number, offset, draw(st.sampled_from([0, 1, 1, 2, 3, 300])), dtype))
        offset = found[-1].stop + draw(st.sampled_from([0] * 8 + [1, 5000]))
    pieces = draw(st.lists(st.sampled_from([_ONE, b"\0\0", b"\x80\x7f", b"\x20\x41", b"\0\xbf"]), min_size=1))
    usual_piece = draw(st.sampled_from([_ONE * 2000, b""]))
    return ((usual_piece + b"".join(pieces)) * offset)[: offset + 4], draw(st.permutations(found))


@given(layouts())
def test_scales_in_a_table_have_the_values_that_each_has_alone(layout: tuple[bytes, list[TensorRef]]) -> None:
    data, scales = layout
    alone = {tensor: scale_values(tensor.dtype, data[tensor.start : tensor.stop]) for tensor in scales}
    judged = {tensor.name: (tensor, values) for tensor, values in alone.items() if values is not None}
    for condition in CONDITIONS:  # each of a new table, of which no scale was asked for
        found = ScaleTable(container(data), scales).where(condition)
        assert sorted(map(str, found)) == sorted(str(one) for one in judged.values() if condition(one[1]))
    table = ScaleTable(container(data), scales)
    assert repr(dict(sorted(table.items()))) == repr(dict(sorted(judged.items())))  # NaN is not equal to itself
    assert len(table) == len(judged)


@pytest.mark.parametrize("count", [1, 300])
def test_known_bytes_are_not_read_again(count: int) -> None:
    files = container(_ONE * 5 * count)
    first = ScaleTable(files, [scale(n, 2 * n * count, count) for n in range(5)])
    files.source.reads.clear()  # type: ignore[attr-defined]
    others = [scale(n + 10, 2 * n * count, count) for n in range(5)]
    again = ScaleTable(files, others, first.places)
    assert files.source.reads == []  # type: ignore[attr-defined]
    assert {name: values for name, (_, values) in again.items()} == {
        f"{n + 10}.scale": ScaleValues(count, 1.0, 1.0) for n in range(5)
    }
    assert not list(again.where(lambda values: values.maximum > 1.0))


def test_known_bytes_that_are_cut_into_scales_otherwise_are_judged_anew() -> None:
    files = container(_ONE * 600)
    first = ScaleTable(files, [scale(0, 0, 300), scale(1, 600, 300)])
    small = ScaleTable(files, [scale(n, 6 * n, 3) for n in range(200)], first.places)
    assert small["7.scale"] == (scale(7, 42, 3), ScaleValues(3, 1.0, 1.0))
    again = ScaleTable(files, [scale(0, 0, 200), scale(1, 400, 400)], first.places)
    assert [values.size for _, values in again.values()] == [200, 400]
    floats = ScaleTable(files, [scale(n, 12 * n, 3, "F32") for n in range(100)], small.places)
    assert floats["0.scale"][1].minimum == pytest.approx(1.0019, abs=1e-4)  # 0x3f803f80
    assert len(list(floats.where(lambda values: values.minimum > 1.0))) == 100
