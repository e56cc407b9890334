"""Casts: the same values in another element type, exact where it holds them, rounded to nearest even where not."""

from __future__ import annotations

import struct
from functools import cache

from ckptkit.model.numbers import upper_halves
from ckptkit.model.values import decode
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise

#: (from, to) -> how far the result may be off. Every power of two from 2**-127 up, every BF16 and every F16 is an F32.
_CASTS: dict[tuple[str, str], Loss | None] = {
    ("F8_E8M0", "F32"): None,
    ("BF16", "F32"): None,
    ("F16", "F32"): None,
    # Half a unit in the last of 8 bits; below the smallest normal number half of the smallest subnormal one.
    ("F32", "BF16"): Loss(2.0**-8, 2.0**-134),
}


def exact_cast(dtype: str, wanted: frozenset[str]) -> str | None:
    """The dtype of ``wanted`` that holds every value of ``dtype``: itself, or the first that a cast reaches exactly."""
    if dtype in wanted:
        return dtype
    reached = (to for (source, to), loss in _CASTS.items() if source == dtype and loss is None and to in wanted)
    return next(reached, None)


def _promise(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1:
        raise OperationError(f"takes one tensor, not {len(inputs)}")
    pair = (inputs[0].dtype, str(parameters.get("dtype")))
    if pair not in _CASTS:
        raise OperationError(f"there is no cast from {pair[0]} to {pair[1]}")
    return Promise(pair[1], None, _CASTS[pair])


def _compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    return cast_bytes(pieces[0].data, pieces[0].dtype, parameters["dtype"])


def cast_bytes(data: bytes, dtype: str, wanted: str) -> bytes:
    """Elements of one type as elements of another, for the pairs that there is a cast for."""
    pair = (dtype, wanted)
    if pair == ("F8_E8M0", "F32"):
        table = _powers_of_two()
        return b"".join([table[bits] for bits in data])
    if pair == ("BF16", "F32"):
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        return bytes(wide)
    import numpy as np

    if pair == ("F16", "F32"):
        with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
            return np.frombuffer(data, "<f2").astype("<f4").tobytes()
    bits = np.frombuffer(data, "<u4")
    rounded = upper_halves(bits.view("<f4"))
    # A NaN stays one: rounding up could carry its mantissa into the sign.
    is_nan = (bits & 0x7FFF_FFFF) > 0x7F80_0000
    return np.where(is_nan, (bits >> 16) | 0x40, rounded).astype("<u2").tobytes()


@cache
def _powers_of_two() -> tuple[bytes, ...]:
    return tuple(struct.pack("<f", decode("F8_E8M0", bits)) for bits in range(256))


OPERATIONS = (Operation("cast", "the same values in another element type", _promise, _compute),)
