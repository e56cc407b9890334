"""Where numba is installed (the extra ``fast``), inner loops are machine code: the same bits, several times faster.

Loading it takes longer than a small checkpoint, and compiling it, once for each machine, longer than a big one, so that
the first elements of a process are worked out by numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.operations import machine
from ckptkit.storage.payload import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

#: Elements of a process that numpy works out before loops pay: about as long as loading what is kept takes.
WARM_UP = 1 << 23
#: The same where the loops are to be compiled first.
LONG_WARM_UP = 1 << 28
#: FP8 types that the loops know -> the exponent field of F32 that stands for an exponent field of 0.
_EXPONENTS = {"F8_E4M3": 120, "F8_E4M3FNUZ": 119}
#: The code of NaN: of either sign, or the one that -0 would have.
_SIGNLESS_NAN, _SIGNED_NAN = {"F8_E4M3": 0x7F}, 0x80
#: Types that the loops make -> the largest product that they may be given: none is then rounded beyond the type.
_LARGEST = {"BF16": 3.3e38, "F32": 3.4e38}
#: The largest magnitude of a code of either type, and of an E2M1 element.
_LARGEST_CODE, _LARGEST_ELEMENT = 448.0, 6.0
#: Types -> bits of F32 that rounding to them takes off.
_DROPPED = {"BF16": 16, "F16": 13, "F32": 0}

_seen = 0


def _loops(elements: int) -> Any:
    """The loops, after counting elements that are about to be worked out; None where so few do not pay."""
    global _seen
    _seen += elements
    if _seen <= WARM_UP or (_seen <= LONG_WARM_UP and not machine.is_kept()):
        return None
    return machine.loops()


def _run(loop: Callable[..., None], *arguments: Any) -> None:
    """Call a loop with numbers, and with arrays as pointers to their first elements. Results have to be contiguous."""
    import numpy as np

    held = [a if isinstance(a, int) else np.ascontiguousarray(a) for a in arguments]
    loop(*(a if isinstance(a, int) else a.ctypes.data for a in held))


def dequantized(source: str, codes: Codes, grid: Floats, block: list[int], first: int, dtype: str) -> Data | None:
    """Codes [r, K] times the scales [rows of blocks, columns of blocks] of their blocks, as elements of another type.

    ``block`` are the rows and columns that share a scale, 0 for all; ``first`` is the first row's place in the first
    row of blocks. None where compiled loops do not pay, know no such types or scales, or a code is a NaN.
    """
    if source not in _EXPONENTS or dtype not in _LARGEST:
        return None
    loops = _loops(codes.size)
    if loops is None or not _fits(grid, _LARGEST_CODE, dtype):
        return None
    import numpy as np

    rows, columns = codes.shape
    height, width = block[0] or rows + first, block[1] or columns
    if len(grid) == 1:
        height, first = rows, 0
    out, largest = _products(codes.size, dtype), np.zeros(1, np.int32)
    exponent, signless = _EXPONENTS[source], _SIGNLESS_NAN.get(source)
    _run(loops[f"products-{dtype}"], codes, grid, rows, columns, height, width, first, exponent, out, largest)
    wrong = (codes == _SIGNED_NAN).any() if signless is None else largest[0] == signless
    return None if wrong else memoryview(out).cast("B")


def pairs_dequantized(pairs: Codes, factors: Floats, dtype: str) -> Data | None:
    """Bytes [g, b] of two E2M1 elements each times the factors [g] of their groups, as elements of another type.

    None where compiled loops do not pay, or know no such type or factors.
    """
    loops = _loops(2 * pairs.size) if dtype in _LARGEST else None
    if loops is None or not _fits(factors, _LARGEST_ELEMENT, dtype):
        return None
    out = _products(2 * pairs.size, dtype)
    _run(loops[f"elements-{dtype}"], pairs, factors, *pairs.shape, out)
    return memoryview(out).cast("B")


def _fits(scales: Floats, largest: float, dtype: str) -> bool:
    """Whether no product with a number up to ``largest`` is beyond a type. NaN is no such scale."""
    import numpy as np

    return bool(float(np.abs(scales).max(initial=0.0)) * largest < _LARGEST[dtype])


def _products(elements: int, dtype: str) -> Any:
    import numpy as np

    return np.empty(elements, np.uint16 if dtype == "BF16" else np.int32)


def looked_up(source: Codes, rows: NDArray[np.int16], table: NDArray[Any]) -> tuple[NDArray[Any], int] | None:
    """Bytes [g, b] by a table [n, 256] of one or two bytes for each, every group by the row that ``rows`` [g] names.

    The result [g, b], and, where it has one byte for each, the largest of the source's, signs aside. None where
    compiled loops do not pay.
    """
    loops = _loops(source.size * table.itemsize)
    if loops is None:
        return None
    import numpy as np

    out, largest = np.empty(source.shape, table.dtype), np.zeros(1, np.uint8)
    _run(loops[f"looked-up-{8 * table.itemsize}"], source, rows, table, *source.shape, out, largest)
    return out, int(largest[0])


def magnitudes(bits: NDArray[Any], block: list[int]) -> NDArray[Any] | None:
    """The bits of the largest magnitude in each block of a matrix [r, K] of floats whose first row begins one.

    None where compiled loops do not pay.
    """
    loops = _loops(bits.size)
    if loops is None:
        return None
    import numpy as np

    rows, columns = bits.shape
    height, width = block[0] or rows, block[1] or columns
    out = np.empty((-(-rows // height), -(-columns // width)), bits.dtype)
    _run(loops[f"magnitudes-{8 * bits.itemsize}"], bits, rows, columns, height, width, out)
    return out


def quantized(
    bits: NDArray[Any],
    dtype: str,
    grid: Floats,
    block: list[int],
    quotient: str,
    *,
    reciprocal: bool,
    tie_free: bool = False,
) -> Codes | None:
    """A matrix [r, K] of floats whose first row begins a block as E4M3 codes.

    Numbers are divided by the scales [rows of blocks, columns of blocks], or with ``reciprocal`` multiplied with 1 over
    them, as float32, rounded to ``quotient`` and then to E4M3. ``tie_free``: weights, quotients and scales are BF16, so
    that no quotient is half-way between two. None where compiled loops do not pay.
    """
    loops = _loops(bits.size)
    if loops is None:
        return None
    import numpy as np

    rows, columns = bits.shape
    height, width = block[0] or rows, block[1] or columns
    out = np.empty((rows, columns), np.uint8)
    with np.errstate(over="ignore", divide="ignore"):
        inverse = np.float32(1) / grid
    if tie_free and not reciprocal and np.isfinite(inverse).all():
        _run(loops["bf16-quotients"], bits, inverse, rows, columns, height, width, out)
        return out
    factors, times = (inverse, 1) if reciprocal else (grid, 0)
    _run(loops[f"quantized-{dtype}"], bits, factors, rows, columns, height, width, times, _DROPPED[quotient], out)
    return out


class ErrorSums(NamedTuple):
    """Sums of the reference's squares and of the differences', equal elements, the place of the largest difference."""

    squares: float
    error_squares: float
    equal: int
    place: int | None
    not_finite: int = 0


def error_sums(reference: Floats, result: Floats) -> ErrorSums | None:
    """How far float32 values [n] are off, in float64. None where compiled loops do not pay, or some are no numbers."""
    loops = _loops(reference.size)
    if loops is None:
        return None
    import numpy as np

    sums, counts = np.zeros(2), np.zeros(2, np.int64)
    _run(loops["error-sums"], reference, result, reference.size, sums, counts)
    squares, errors = map(float, sums)
    equal, furthest = map(int, counts)
    if not math.isfinite(squares + errors):
        return None
    place = np.zeros(1, np.int64)
    if furthest:
        _run(loops["first-difference"], reference, result, reference.size, furthest, place)
    return ErrorSums(squares, errors, equal, int(place[0]) if furthest else None)
