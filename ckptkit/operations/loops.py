"""Inner loops that numba compiles. Imported only by :mod:`ckptkit.operations.compiled`, where numba is there.

They give the bits of the numpy code beside which they are called, which stays the definition. Integer types are cast at
every step since numba widens them, and what is wide is not vectorized.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_jit: Any = numba.njit(nogil=True, cache=True, error_model="numpy")
_I, _F = np.int32, np.float32


@_jit
def products(codes, scales, rows, columns, height, width, first, exponent, out):  # type: ignore[no-untyped-def]
    """E4M3 codes [rows * columns] times the scale of their block: F32 bits, or BF16 ones where ``out`` is as narrow.

    ``scales`` [grid] are those of the rows of blocks that the codes begin in; ``first`` is the first row's place in its
    block. ``exponent`` is what an exponent field of 0 would be in F32: 120 for a bias of 7. BF16 is rounded to nearest
    even; no product may be beyond it, no code a NaN.
    """
    per_row = (columns + width - 1) // width
    shift, tiny = _I(_I(exponent) << _I(23)), _I(_I(exponent - 2) << _I(23)).view(np.float32)
    for row in range(rows):
        above = (first + row) // height * per_row
        for block in range(per_row):
            start = row * columns + block * width
            count = min(columns, block * width + width) - block * width
            scale = scales[above + block]
            source, target = codes[start : start + count], out[start : start + count]
            for place in range(count):
                code = _I(source[place])
                magnitude = _I(code & _I(0x7F))
                normal = _I(_I(magnitude << _I(20)) + shift).view(np.float32)
                small = _F(_F(magnitude) * tiny)
                product = _F((normal if magnitude >= 8 else small) * scale)
                bits = _I(product.view(np.int32) ^ _I(_I(code & _I(0x80)) << _I(24)))
                if out.itemsize == 2:  # known when it is compiled
                    bits = _I(_I(bits + _I(0x7FFF) + _I((bits >> 16) & 1)) >> 16)
                target[place] = bits


_sum: Any = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
#: Differences that are added up before they meet the sum of all: rounding errors stay as small as numpy's.
_RUN = 4096


@_jit
def difference_bits(reference, result):  # type: ignore[no-untyped-def]
    """The magnitude of the difference of two float32 numbers as the bits of a float64, which are in order of size."""
    off = np.float64(result) - np.float64(reference)
    return np.int64(np.float64(off).view(np.int64) & np.int64(0x7FFF_FFFF_FFFF_FFFF))


@_sum
def error_sums(reference, result):  # type: ignore[no-untyped-def]
    """Of float32 values: the sums of the reference's squares and of the differences', how many are equal, and the bits
    of the largest difference. Sums and differences are float64."""
    squares, errors, equal, furthest = 0.0, 0.0, 0, np.int64(0)
    for begin in range(0, reference.size, _RUN):
        left, right = reference[begin : begin + _RUN], result[begin : begin + _RUN]
        own_squares, own_errors = 0.0, 0.0
        for place in range(left.size):
            wide = np.float64(left[place])
            off = np.float64(right[place]) - wide
            own_squares += wide * wide
            own_errors += off * off
            equal += left[place] == right[place]
            furthest = max(furthest, difference_bits(left[place], right[place]))
        squares += own_squares
        errors += own_errors
    return squares, errors, equal, furthest


@_jit
def first_difference(reference, result, bits):  # type: ignore[no-untyped-def]
    """The first place where values are as far apart as these bits say."""
    for place in range(reference.size):
        if difference_bits(reference[place], result[place]) == bits:
            return place
    return -1
