"""Hopper's FP8 tensor core in numpy, bit for bit: what its short accumulator makes of a sum of e4m3fn products.

One instruction takes 32 products and the accumulator. A product's exponent is the sum of its operands' exponents
(subnormal codes have that of the smallest normal ones), whatever the product itself is; everything is aligned to the
largest exponent, cut toward zero at 13 fraction bits below it, and added without error; the sum is cut to 13 fraction
bits of its own exponent. Zeros take no part, a sum of zero is +0, and a NaN operand gives the NaN 0x7FFFFFFF.

mmaemu, which replays products that an H100 computed, and mmasim are the oracles of the tests; both agree with this, and
so do outputs that were recorded on an H100 and an H200 (``fixtures/golden/hopper.json``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.model.numbers import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Sums = NDArray[np.float32]

#: K elements that one instruction takes.
STEP = 32
#: Bits kept below the exponent that a sum is aligned to, and below the exponent of its result.
FRACTION_BITS = 13
#: K elements between promotions to float32.
PROMOTION = 128

_SMALLEST_NORMAL = -6
#: The exponent of zero: with any other added still below all exponents of products.
_ZERO = -64
#: Every sum is a multiple of 2**-25: no exponent lies below.
_LOWEST = 2 * _SMALLEST_NORMAL - FRACTION_BITS
_CANONICAL_NAN = 0x7FFFFFFF
#: Outputs that are computed together: their 32 products each fit a core's cache.
_TILE = 1 << 13


def accumulate(a: Codes, w: Codes, *, promoted: bool = False) -> Sums:
    """``a @ w.T`` of e4m3fn codes a [M, K] and w [N, K], uint8, as float32 [M, N].

    ``promoted`` adds the sum of every 128 of K to a float32 accumulator; otherwise all of K stays in the tensor core.
    """
    import numpy as np

    out = np.empty((a.shape[0], w.shape[0]), np.float32)
    left, right = _split(a), _split(w)
    columns = min(w.shape[0], 256)
    rows = max(1, _TILE // max(1, columns))
    for row in range(0, a.shape[0], rows):
        for column in range(0, w.shape[0], columns):
            tile = slice(row, row + rows), slice(column, column + columns)
            out[tile] = _tile([part[:, tile[0]] for part in left], [part[:, tile[1]] for part in right], promoted)
    is_nan = [((codes & 0x7F) == 0x7F).any(axis=1) for codes in (a, w)]
    out.view(np.int32)[is_nan[0][:, None] | is_nan[1][None, :]] = _CANONICAL_NAN
    return out


def _split(codes: Codes) -> tuple[Any, Any]:
    """Values [K, rows] and exponents of codes [rows, K], K filled up with zeros to whole instructions."""
    import numpy as np

    values = numbers(FP8_WEIGHT, bytes(range(256))).astype(np.float32)
    values[np.isnan(values)] = 0  # such outputs are overwritten
    exponents = np.maximum(np.frexp(values)[1] - 1, _SMALLEST_NORMAL)
    exponents[values == 0] = _ZERO
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % STEP))).T
    return values[padded], exponents.astype(np.int8)[padded]


def _tile(left: list[Any], right: list[Any], promoted: bool) -> Sums:
    import numpy as np

    depth, shape = left[0].shape[0], (left[0].shape[1], right[0].shape[1])
    inside, outside = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for start in range(0, depth, STEP):
        step = slice(start, start + STEP)
        products = left[0][step, :, None] * right[0][step, None, :]
        exponents = (left[1][step, :, None] + right[1][step, None, :]).max(axis=0)
        inside = _add(products, exponents, inside)
        if promoted and (start + STEP) % PROMOTION == 0:
            outside += inside
            inside = np.zeros_like(inside)
    # In one chain the first summand is +0 and changes nothing, for no result is -0.
    return outside + inside


def _add(products: Any, exponents: Any, inside: Sums) -> Sums:
    """One instruction: products [32, M, N] with their largest exponents [M, N], and the accumulator."""
    import numpy as np

    # An accumulator of zero has the exponent -127 here: it does not decide either.
    own = (inside.view(np.int32) >> 23 & 0xFF) - 127
    top = np.maximum(np.maximum(exponents, own), _LOWEST)
    grid = _power_of_two(FRACTION_BITS - top)
    # Multiples of powers of two below 2**21: float32 holds every term and every sum exactly.
    products *= grid
    np.trunc(products, out=products)
    total = (products.sum(axis=0) + np.trunc(inside * grid)) * _power_of_two(top - FRACTION_BITS)
    kept: Sums = (total.view(np.int32) & -(1 << (23 - FRACTION_BITS))).view(np.float32)
    kept += np.float32(0)  # -0 becomes +0
    return kept


def _power_of_two(exponent: Any) -> Sums:
    import numpy as np

    found: Sums = ((exponent.astype(np.int32) + 127) << 23).view(np.float32)
    return found
