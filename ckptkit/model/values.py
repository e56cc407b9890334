"""Judging scale values on their bits, without numpy where there are few: a small model's scales take milliseconds.

Read as unsigned integers, the finite positive values of every float format are exactly the range from 1 to just
below infinity. So ``min`` and ``max`` of the raw integers tell whether all scales are finite and positive.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ckptkit.storage.payload import TensorRef

#: dtype -> (array type code, bits of +infinity or, for E8M0, of NaN)
_LAYOUT = {"F32": ("I", 0x7F80_0000), "BF16": ("H", 0x7F80), "F16": ("H", 0x7C00), "F8_E8M0": ("B", 0xFF)}
#: dtype -> bits of the first finite value above zero, and of infinity; an E8M0 code of 0 is 2**-127, a value like any.
_FINITE = {dtype: (0 if dtype == "F8_E8M0" else 1, beyond) for dtype, (_, beyond) in _LAYOUT.items()}

_HALF, _SINGLE = struct.Struct("<e"), struct.Struct("<f")

#: What a scale is stored as, where its value can be told.
SCALE_DTYPES = frozenset(_LAYOUT)


class ScaleValues(NamedTuple):
    """What the values of one scale tensor are, ``size`` of them.

    ``minimum`` and ``maximum`` are over the finite positive values. ``zeros`` and ``invalid`` (negative, infinite
    or NaN) hold the flat indices of the others.
    """

    size: int
    minimum: float
    maximum: float
    zeros: tuple[int, ...] = ()
    invalid: tuple[int, ...] = ()


def scale_values(dtype: str, data: bytes) -> ScaleValues | None:
    """Judge the raw bytes of a scale tensor; None when the dtype is not one that holds scales.

    >>> scale_values("BF16", bytes.fromhex("803f0040"))
    ScaleValues(size=2, minimum=1.0, maximum=2.0, zeros=(), invalid=())
    """
    raw = _integers(dtype, data)
    return None if raw is None else _judge(dtype, raw)


def values_in_run(run: Sequence[TensorRef], data: bytes) -> Iterator[ScaleValues | None]:
    """The values of neighbouring scales, of which ``data`` holds all bytes from the first one's start on.

    None of what has no dtype of a scale, or fewer bytes than its shape asks for. The bytes become integers once, not
    once for each scale: there may be a hundred thousand, most of them of a few bytes.
    """
    first, available = run[0].start, len(data)
    integers = {dtype: _integers(dtype, data) for dtype in {tensor.dtype for tensor in run}}
    for tensor in run:
        _, dtype, _, _, start, nbytes = tensor
        raw, begin = integers[dtype], start - first
        end = begin + nbytes
        if raw is None or end > available:
            yield None
            continue
        width = raw.itemsize
        own = raw[begin // width : end // width] if not begin % width else _integers(dtype, data[begin:end])
        yield None if own is None else _judge(dtype, own)


def _integers(dtype: str, data: bytes) -> array[int] | None:
    """Stored numbers as unsigned integers, as many as are whole; None when the dtype is not one that holds scales."""
    layout = _LAYOUT.get(dtype)
    if layout is None:
        return None
    raw = array(layout[0])
    raw.frombytes(data[: len(data) // raw.itemsize * raw.itemsize])
    if sys.byteorder == "big":
        raw.byteswap()
    return raw


class _Extremes:
    """The smallest and the largest of some numbers.

    Numpy is a hundred times as quick, and its import takes as long as two million numbers without it: it is imported
    once so many have been looked at.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def __call__(self, raw: array[int]) -> tuple[int, int]:
        if len(raw) < _FEW:
            return (min(raw), max(raw)) if len(raw) > 1 else (raw[0], raw[0])
        if self.patience > 0:
            self.patience -= len(raw)
            numbers = raw if raw.itemsize > 2 else set(raw)  # numbers of two bytes repeat
            return min(numbers), max(numbers)
        import numpy as np

        found = np.frombuffer(raw, dtype=f"u{raw.itemsize}")
        return int(found.min()), int(found.max())


#: So few numbers are looked at faster without numpy.
_FEW = 64
_extremes = _Extremes(1 << 21)


def _judge(dtype: str, raw: array[int]) -> ScaleValues:
    if not raw:
        return ScaleValues(0, math.nan, math.nan)
    smallest, limit = _FINITE[dtype]
    low, high = _extremes(raw)
    if low >= smallest and high < limit:
        minimum = decode(dtype, low)
        return ScaleValues(len(raw), minimum, minimum if low == high else decode(dtype, high))
    good = [bits for bits in raw if smallest <= bits < limit]
    bad = [(index, decode(dtype, bits)) for index, bits in enumerate(raw) if not smallest <= bits < limit]
    return ScaleValues(
        size=len(raw),
        minimum=decode(dtype, min(good)) if good else math.nan,
        maximum=decode(dtype, max(good)) if good else math.nan,
        zeros=tuple(index for index, value in bad if value == 0),
        invalid=tuple(index for index, value in bad if value != 0),
    )


@lru_cache(maxsize=1 << 14)  # the extremes of scales repeat
def decode(dtype: str, bits: int) -> float:
    """The value of one scale, from its bits.

    >>> decode("BF16", 0x3F80), decode("F8_E8M0", 126)
    (1.0, 0.5)
    """
    if dtype == "F8_E8M0":
        return math.nan if bits == 0xFF else math.ldexp(1.0, bits - 127)
    if dtype == "F16":
        return float(_HALF.unpack(bits.to_bytes(2, "little"))[0])
    widened = bits << 16 if dtype == "BF16" else bits
    return float(_SINGLE.unpack(widened.to_bytes(4, "little"))[0])


def first_value(dtype: str, data: bytes) -> float | None:
    """The first number of a scale; None when the dtype is not one that holds scales, or there is none.

    >>> first_value("BF16", bytes.fromhex("80bf")), first_value("I8", bytes(1))
    (-1.0, None)
    """
    raw = _integers(dtype, data)
    return decode(dtype, raw[0]) if raw else None


def e8m0_to_f32(data: bytes) -> bytes:
    """Widen E8M0 scales to F32, exactly: every power of two from 2**-127 up is an F32.

    >>> struct.unpack("<2f", e8m0_to_f32(bytes([127, 128])))
    (1.0, 2.0)
    """
    table = [struct.pack("<f", decode("F8_E8M0", bits)) for bits in range(256)]
    return b"".join(table[bits] for bits in data)
