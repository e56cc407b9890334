"""Where numba is installed (the extra ``fast``), inner loops are compiled: the same bits, several times faster.

Loading numba takes longer than a small checkpoint, so that the first elements of a process are worked out by numpy.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.storage.payload import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Elements of a process that numpy works out before loading numba pays: about as long as loading it takes.
WARM_UP = 1 << 26
#: FP8 types that the loops know -> the exponent field of F32 that stands for an exponent field of 0.
_EXPONENTS = {"F8_E4M3": 120, "F8_E4M3FNUZ": 119}
#: Types that the loops make -> the largest product that they may be given: none is then rounded beyond the type.
_LARGEST = {"BF16": 3.3e38, "F32": 3.4e38}
#: The largest magnitude of a code of either type.
_LARGEST_CODE = 448.0

_seen = 0


def is_installed() -> bool:
    """Whether numba is there. It is not imported."""
    return find_spec("numba") is not None


def is_warm(elements: int) -> bool:
    """Count elements that are about to be worked out; whether so many were before that compiled loops pay."""
    global _seen
    _seen += elements
    return _seen > WARM_UP and _loops() is not None


@cache
def _loops() -> Any:
    try:
        return import_module("ckptkit.operations.loops")
    except ImportError:
        return None


def dequantized(
    source: str, codes: NDArray[np.uint8], grid: NDArray[np.float32], block: list[int], first: int, dtype: str
) -> Data | None:
    """Codes [r, K] times the scales [rows of blocks, columns of blocks] of their blocks, as elements of another type.

    ``block`` are the rows and columns that share a scale, 0 for all; ``first`` is the first row's place in the first
    row of blocks. No code may be a NaN. None where compiled loops do not pay, or know no such types or scales.
    """
    if source not in _EXPONENTS or dtype not in _LARGEST or not is_warm(codes.size):
        return None
    import numpy as np

    if not float(np.abs(grid).max(initial=0.0)) * _LARGEST_CODE < _LARGEST[dtype]:  # true of NaN too
        return None
    rows, columns = codes.shape
    height, width = block[0] or rows + first, block[1] or columns
    if len(grid) == 1:
        height, first = rows, 0
    out: Any = np.empty(codes.size, np.uint16 if dtype == "BF16" else np.int32)
    scales = np.ascontiguousarray(grid).reshape(-1)
    _loops().products(codes.reshape(-1), scales, rows, columns, height, width, first, _EXPONENTS[source], out)
    return memoryview(out).cast("B")


class ErrorSums(NamedTuple):
    """Sums of the reference's squares and of the differences', equal elements, the place of the largest difference."""

    squares: float
    error_squares: float
    equal: int
    place: int | None
    not_finite: int = 0


def error_sums(reference: NDArray[np.float32], result: NDArray[np.float32]) -> ErrorSums | None:
    """How far float32 values [n] are off, in float64. None where compiled loops do not pay, or some are no numbers."""
    if not is_warm(reference.size):
        return None
    squares, errors, equal, furthest = _loops().error_sums(reference, result)
    if not math.isfinite(squares + errors):
        return None
    place = int(_loops().first_difference(reference, result, furthest)) if furthest else None
    return ErrorSums(float(squares), float(errors), int(equal), place)
