"""The table of operations: what each promises is what it makes, in stripes of any height and in any byte range."""

from __future__ import annotations

import math
import random
import re
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import ContainerError, UsageError
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.model.numbers import dequantized, numbers, value_of
from ckptkit.operations import dequantize, outputs, stream, table
from ckptkit.operations.cast import exact_cast
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import Computed, TensorRef
from tests.raw import MemorySource


def stored(dtype: str, shape: tuple[int, ...], data: bytes) -> tuple[TensorRef, MemorySource]:
    """A tensor that lies in a file of its own, after some bytes that are not its own."""
    return TensorRef("t", dtype, shape, "file", 3, len(data)), MemorySource({"file": b"..." + data + b"..."})


def made(output: OutputTensor, source: MemorySource) -> bytes:
    payload = output.payload
    assert isinstance(payload, Computed)
    data = b"".join(stream.stream(payload, source, 0, payload.nbytes))
    assert len(data) == payload.nbytes
    return data


def test_every_entry_is_described_and_found_by_name() -> None:
    for entry in table.operations():
        assert table.operation(entry.name) is entry and entry.summary
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name), "plans hold these names: one way to spell them"
    with pytest.raises(UsageError, match="there is no operation 'melt'"):
        table.operation("melt")


@given(st.binary(min_size=1, max_size=400))
def test_powers_of_two_widen_exactly(data: bytes) -> None:
    tensor, source = stored("F8_E8M0", (len(data),), data)
    output = outputs.computed("wide", "cast", (tensor,), {"dtype": "F32"})
    wide = np.frombuffer(made(output, source), "<f4").astype(np.float64)
    assert np.array_equal(wide, numbers("F8_E8M0", data), equal_nan=True)
    assert outputs.loss_of(output) is None


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_16_bit_float_widens_exactly(dtype: str) -> None:
    data = np.arange(1 << 16, dtype="<u2").tobytes()
    tensor, source = stored(dtype, (256, 256), data)
    output = outputs.computed("wide", "cast", (tensor,), {"dtype": "F32"})
    assert np.array_equal(numbers("F32", made(output, source)), numbers(dtype, data), equal_nan=True)
    assert outputs.loss_of(output) is None


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_rounding_stays_within_what_is_promised_and_goes_to_the_nearest(values: list[float]) -> None:
    data = struct.pack(f"<{len(values)}f", *values)
    tensor, source = stored("F32", (len(values),), data)
    output = outputs.computed("narrow", "cast", (tensor,), {"dtype": "BF16"})
    loss = outputs.loss_of(output)
    assert loss is not None
    codes = np.frombuffer(made(output, source), "<u2")
    for value, got, code in zip(values, numbers("BF16", codes.tobytes()), codes, strict=True):
        if math.isnan(value):
            assert math.isnan(got)
        elif math.isinf(got):
            assert math.isinf(value) or abs(value) >= 3.3961775292304957e38  # half a step over the largest BF16
        else:
            assert abs(got - value) <= loss.relative * abs(value) + loss.absolute
            neighbours = np.array([code - 1, code + 1], "<u2") if code & 0x7FFF else np.array([1], "<u2")
            for other in numbers("BF16", neighbours.tobytes()):
                assert math.isnan(other) or abs(got - value) <= abs(other - value)


def _sum(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    """Every row of the output is the sum of two rows of the input, modulo 256."""
    (piece,) = pieces
    width = piece.shape[1]
    lines = [piece.data[index * width : (index + 1) * width] for index in range(piece.shape[0])]
    assert piece.first_row == 2 * rows.start
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return b"".join(bytes((x + y) % 256 for x, y in zip(a, b, strict=True)) for a, b in pairs)


def _halved(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs[0].shape) != 2 or inputs[0].shape[0] % 2:
        raise OperationError("takes a matrix with an even number of rows")
    return Promise("U8", (inputs[0].shape[0] // 2, inputs[0].shape[1]), Loss(0.5))


def _both(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    return (range(2 * rows.start, 2 * rows.stop),)


PAIRS = Operation("pairs", "sums of neighbouring rows", _halved, _sum, _both, lambda inputs, parameters: 3)


def test_the_page_of_forms_names_every_operation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "forms.md").read_text(encoding="utf-8")
    table_of_all = page.partition("## Every operation")[2]
    assert set(re.findall(r"`([\w-]+)`", table_of_all)) >= set(table.BUILT_IN)


@given(st.data(), st.integers(1, 40), st.integers(1, 9), st.integers(1, 200))
def test_any_byte_range_is_the_same_in_stripes_of_any_height(
    data: st.DataObject, rows: int, columns: int, stripe: int
) -> None:
    raw = bytes((7 * index + 3) % 256 for index in range(2 * rows * columns))
    tensor, source = stored("U8", (2 * rows, columns), raw)
    whole = _sum((Piece("U8", (2 * rows, columns), raw, 0),), {}, range(rows))
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "STRIPE", stripe)
        patch.setitem(table.BUILT_IN, "pairs", PAIRS)
        output = outputs.computed("summed", "pairs", (tensor,))
        payload = output.payload
        assert isinstance(payload, Computed)
        pieces = list(stream.stream(payload, source, begin, end))
    assert b"".join(pieces) == whole[begin:end]
    height = max(3, stripe // columns // 3 * 3)
    assert all(len(piece) <= height * columns for piece in pieces)
    assert len(pieces) >= (end - begin) // (height * columns)


class Counting(ThreadPoolExecutor):
    """Threads, and how many tasks were given to them."""

    given = 0

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self.given += 1
        return super().submit(*arguments, **named)


def test_stripes_made_ahead_come_in_order_and_are_never_many(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = random.Random(0).randbytes(600)
    tensor, source = stored("U8", (60, 10), raw)

    def late(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
        time.sleep(0.01 if rows.start % 2 == 0 else 0)  # every other stripe is overtaken
        return bytes(pieces[0].data)

    entry = Operation("late", "the same", lambda inputs, parameters: Promise("U8", inputs[0].shape), late)
    monkeypatch.setitem(table.BUILT_IN, "late", entry)
    monkeypatch.setattr(stream, "STRIPE", 30)
    payload = outputs.computed("x", "late", (tensor,)).payload
    assert isinstance(payload, Computed)
    found = b""
    with Counting(4) as pool:
        for number, data in enumerate(stream.stream(payload, source, 0, payload.nbytes, ahead=pool), 1):
            found += data
            assert pool.given <= number + stream.AHEAD
        assert found == raw and pool.given == 20
        assert b"".join(stream.stream(payload, source, 37, 411, ahead=pool)) == raw[37:411]


def test_a_stripe_that_fails_ahead_ends_the_stream_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor, source = stored("U8", (60, 10), bytes(600))

    def fails(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
        if rows.start >= 6:
            raise OperationError("no more")
        return bytes(pieces[0].data)

    entry = Operation("fails", "half", lambda inputs, parameters: Promise("U8", inputs[0].shape), fails)
    monkeypatch.setitem(table.BUILT_IN, "fails", entry)
    monkeypatch.setattr(stream, "STRIPE", 30)
    payload = outputs.computed("x", "fails", (tensor,)).payload
    assert isinstance(payload, Computed)
    with Counting(2) as pool:
        pieces = stream.stream(payload, source, 0, payload.nbytes, ahead=pool)
        assert [len(next(pieces)), len(next(pieces))] == [30, 30]
        with pytest.raises(ContainerError, match="rows 6 to 9"):
            next(pieces)
        assert pool.given <= 3 + stream.AHEAD


def test_a_broken_promise_is_found_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor, source = stored("U8", (4, 2), bytes(8))
    short = Operation("short", "too little", _halved, lambda pieces, parameters, rows: b"1", _both)
    monkeypatch.setitem(table.BUILT_IN, "short", short)
    payload = outputs.computed("x", "short", (tensor,)).payload
    assert isinstance(payload, Computed)
    with pytest.raises(ContainerError, match="short made 1 bytes where 4 were promised"):
        list(stream.stream(payload, source, 0, 4))


def test_an_output_that_is_not_what_its_operation_makes() -> None:
    tensor = TensorRef("t", "F32", (2, 3), "file", 0, 24)
    fitting = [outputs.keep(tensor), outputs.as_stored(tensor, "u", (6,)), outputs.as_stored(tensor, "u", (2, 3))]
    assert list(outputs.broken_promises(fitting)) == []
    wrong = [
        outputs.keep(tensor)._replace(shape=(2, 4)),
        outputs.as_stored(tensor, "u", (6,))._replace(shape=(7,)),
        outputs.as_stored(tensor, "u", (2, 3))._replace(dtype="BF16"),
        outputs.keep(tensor)._replace(operation="cast"),
    ]
    assert [fault.tensor for fault in outputs.broken_promises(wrong)] == ["t", "u", "u", "t"]


def test_exact_casts() -> None:
    assert exact_cast("BF16", frozenset({"BF16", "F32"})) == "BF16"
    assert exact_cast("F8_E8M0", frozenset({"BF16", "F32"})) == "F32"
    assert exact_cast("F32", frozenset({"BF16"})) is None


def test_the_values_of_8_bit_floats() -> None:
    assert value_of("F8_E4M3", 0x08) == 2.0**-6 and value_of("F8_E4M3", 0xFE) == -448
    assert math.isnan(value_of("F8_E4M3", 0x7F)) and value_of("F8_E4M3FNUZ", 0x7F) == 240
    assert math.isnan(value_of("F8_E4M3FNUZ", 0x80)) and math.isinf(value_of("F8_E5M2", 0x7C))
    assert value_of("F8_E5M2", 0x7B) == 57344 and value_of("F8_E5M2FNUZ", 0x01) == 2.0**-17


def test_weights_times_scales() -> None:
    codes = np.ones((4, 5))
    assert dequantized(codes, np.array([2.0]), PerTensor()).tolist() == [[2.0] * 5] * 4
    assert dequantized(codes[:2], np.arange(4.0), PerChannel(), 2).tolist() == [[2.0] * 5, [3.0] * 5]
    grid = np.arange(6.0)  # [2, 3]
    assert dequantized(codes[:1], grid, PerBlock(3, 2), 3).tolist() == [[3.0, 3.0, 4.0, 4.0, 5.0]]
    groups = np.arange(8.0)  # [4, 2]
    assert dequantized(codes[:1], groups, PerGroup(3), 1).tolist() == [[2.0, 2.0, 2.0, 3.0, 3.0]]


# -- dequantizing ------------------------------------------------------------------------------------------------------


def codes_of(shape: tuple[int, ...], seed: int) -> bytes:
    """Codes of every kind but NaN."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 254, math.prod(shape), dtype=np.uint8)
    codes[codes >= 127] += 1
    return codes.tobytes()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(
    ("shape", "scale_shape", "block", "granularity"),
    [
        ((37, 50), (), [0, 0], PerTensor()),
        ((37, 50), (37, 1), [1, 0], PerChannel()),
        ((37, 50), (37,), [1, 0], PerChannel()),
        ((37, 50), (3, 4), [16, 16], PerBlock(16, 16)),
        ((37, 50), (3, 1, 4, 1), [16, 16], PerBlock(16, 16)),
        ((16, 16), (1, 1), [16, 16], PerBlock(16, 16)),
        ((5, 50), (1, 2), [128, 32], PerBlock(128, 32)),
        ((37, 50), (37, 4), [1, 16], PerGroup(16)),
    ],
)
@pytest.mark.parametrize("scale_dtype", ["F32", "BF16"])
@pytest.mark.parametrize("worth", [1, 1 << 30], ids=["looked up", "multiplied"])
def test_dequantizing_is_the_float32_product_rounded_once(
    worth: int,
    dtype: str,
    shape: tuple[int, ...],
    scale_shape: tuple[int, ...],
    block: list[int],
    granularity: PerBlock | PerChannel | PerGroup | PerTensor,
    scale_dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In stripes of any height, and in any byte range; by a table of products or without one."""
    monkeypatch.setattr(dequantize, "_WORTH", worth)
    count = math.prod(scale_shape)
    scales = np.random.default_rng(1).uniform(1e-4, 1e-2, count).astype("<f4")
    raw = scales.tobytes() if scale_dtype == "F32" else (scales.view("<u4") >> 16).astype("<u2").tobytes()
    weight = codes_of(shape, 2)
    source = MemorySource({"file": weight + raw})
    tensors = (
        TensorRef("w", "F8_E4M3", shape, "file", 0, len(weight)),
        TensorRef("s", scale_dtype, scale_shape, "file", len(weight), len(raw)),
    )
    output = outputs.computed("w", "dequantize", tensors, {"dtype": dtype, "block_shape": block})
    assert output.shape == shape and outputs.loss_of(output) is not None
    exact = dequantized(numbers("F8_E4M3", weight).reshape(shape), numbers(scale_dtype, raw), granularity).astype(
        np.float32
    )
    data = made(output, source)
    expected = exact.astype(np.float16).astype(np.float64) if dtype == "F16" else exact.astype(np.float64)
    if dtype == "BF16":
        bits = exact.view("<u4").astype(np.uint64)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        assert data == bits.astype("<u2").tobytes()
    else:
        assert np.array_equal(numbers(dtype, data).reshape(shape), expected)
    payload = output.payload
    assert isinstance(payload, Computed)
    for height in (1, 100, 1000):
        monkeypatch.setattr(stream, "STRIPE", height)
        assert b"".join(stream.stream(payload, source, 0, payload.nbytes)) == data
        assert b"".join(stream.stream(payload, source, 17, payload.nbytes - 5)) == data[17:-5]


def test_a_stack_of_experts_is_dequantized_expert_by_expert() -> None:
    shape, scales = (3, 8, 8), np.array([[[1, 2], [4, 8]], [[3, 5], [7, 9]], [[0.5, 0.25], [1, 1]]], "<f4")
    weight = codes_of(shape, 3)
    source = MemorySource({"file": weight + scales.tobytes()})
    tensors = (
        TensorRef("w", "F8_E4M3", shape, "file", 0, len(weight)),
        TensorRef("s", "F32", (3, 2, 2), "file", len(weight), scales.nbytes),
    )
    output = outputs.computed("w", "dequantize", tensors, {"dtype": "F32", "block_shape": [4, 4]})
    values = numbers("F8_E4M3", weight).reshape(shape)
    wanted = values * np.kron(scales, np.ones((1, 4, 4)))
    assert np.array_equal(numbers("F32", made(output, source)).reshape(shape), wanted)


@pytest.mark.parametrize(
    ("code", "scale", "dtype", "words"),
    [(0x7F, 1.0, "BF16", "is no number"), (0x7E, 1e38, "BF16", "is no number|more than"), (0x7E, 1e3, "F16", "more")],
)
def test_what_is_no_number_is_refused_by_name(code: int, scale: float, dtype: str, words: str) -> None:
    data = bytes([0x30, code]) + struct.pack("<f", scale)
    source = MemorySource({"file": data})
    tensors = (TensorRef("a.weight", "F8_E4M3", (2, 1), "file", 0, 2), TensorRef("s", "F32", (), "file", 2, 4))
    output = outputs.computed("a.weight", "dequantize", tensors, {"dtype": dtype, "block_shape": [0, 0]})
    with pytest.raises(ContainerError, match=rf"rows 0 to 2 of a\.weight in file: .*\[1, 0\].*({words})"):
        made(output, source)
