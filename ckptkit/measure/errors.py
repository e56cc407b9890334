"""The error of values beside a reference, summed up stripe by stripe in float64.

A stripe is some whole rows of a weight as float32, twice: as they should be and as they are. What is measured of two
stripes is added with ``+``, in any order and from any thread:

.. code-block:: python

    total = Measured()
    for rows in stripes:
        total += measure(reference, result, first_row=rows.start, codes=codes, dtype="F8_E4M3")
    total.relative_error, total.snr_db, total.worst, total.clipped
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import DTYPES
from ckptkit.errors import CkptkitError
from ckptkit.operations import compiled
from ckptkit.record import record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Codes = NDArray[np.uint8]

#: Elements that are worked on at a time: few enough for the processor's cache, many enough for threads to take turns.
_CHUNK = 1 << 16
#: Elements of one dot product: BLAS would share longer ones between threads of its own.
_RUN = 1 << 13
#: Columns that tell of nearly every row that it is not zero.
_FEW = 8


@record
class WorstElement:
    """The element that is furthest off: its row (through all experts of a stack), its column, and both values."""

    row: int
    column: int
    reference: float
    result: float

    @property
    def absolute(self) -> float:
        """How far the result is from the reference."""
        return abs(self.result - self.reference)

    @property
    def relative(self) -> float:
        """The same as a share of this element's reference; infinite where that is zero."""
        return self.absolute / abs(self.reference) if self.reference else math.inf

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/comparison.json``."""
        return {
            "row": self.row,
            "column": self.column,
            "reference": self.reference,
            "result": self.result,
            "absolute": self.absolute,
            "relative": _finite(self.relative),
        }


@record
class Measured:
    """What was measured of some rows; of none, when it is made without arguments.

    * ``elements``: all of them, of which ``equal`` are the same number on both sides and ``not_finite`` are infinite
      or no number on one side or both. These are in no sum;
    * ``squares``: the sum of the reference's squares, ``error_squares`` that of the differences';
    * ``codes``: FP8 codes of the result that were looked at, of which ``saturated`` are the largest there is. With
      scales that are just right each unit of a scale has one; ``clipped`` are those saturated ones whose reference is
      further out than rounding explains: the scale was too small for it;
    * ``rows``: of which ``zero_rows`` are zero all over in the result, ``dead_rows`` those that the reference has not.
    """

    elements: int = 0
    equal: int = 0
    not_finite: int = 0
    squares: float = 0.0
    error_squares: float = 0.0
    worst: WorstElement | None = None
    codes: int = 0
    saturated: int = 0
    clipped: int = 0
    rows: int = 0
    zero_rows: int = 0
    dead_rows: int = 0

    def __add__(self, other: Measured) -> Measured:
        """Both together; of elements that are equally far off the first one is the worst."""
        found = [element for element in (self.worst, other.worst) if element is not None]
        return Measured(
            self.elements + other.elements,
            self.equal + other.equal,
            self.not_finite + other.not_finite,
            self.squares + other.squares,
            self.error_squares + other.error_squares,
            min(found, key=lambda element: (-element.absolute, element.row, element.column), default=None),
            self.codes + other.codes,
            self.saturated + other.saturated,
            self.clipped + other.clipped,
            self.rows + other.rows,
            self.zero_rows + other.zero_rows,
            self.dead_rows + other.dead_rows,
        )

    @property
    def relative_error(self) -> float:
        """The norm of the difference over the norm of the reference (Frobenius); infinite beside a zero reference."""
        if self.error_squares == 0:
            return 0.0
        return math.sqrt(self.error_squares / self.squares) if self.squares else math.inf

    @property
    def snr_db(self) -> float:
        """The same as a signal-to-noise ratio in dB: infinite where nothing differs."""
        if self.error_squares == 0:
            return math.inf
        return 10 * math.log10(self.squares / self.error_squares) if self.squares else -math.inf

    @property
    def saturated_share(self) -> float | None:
        """Saturated codes of all; None where no codes were given."""
        return self.saturated / self.codes if self.codes else None

    @property
    def clipped_share(self) -> float | None:
        """Clipped codes of all; None where no codes were given."""
        return self.clipped / self.codes if self.codes else None

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/comparison.json``; what is infinite is null."""
        return {
            "elements": self.elements,
            "equal": self.equal,
            "not_finite": self.not_finite,
            "relative_error": _finite(self.relative_error),
            "snr_db": _finite(self.snr_db),
            "worst": None if self.worst is None else self.worst.to_json(),
            "saturated_share": self.saturated_share,
            "clipped_share": self.clipped_share,
            "rows": self.rows,
            "zero_rows": self.zero_rows,
            "dead_rows": self.dead_rows,
        }


def measure(
    reference: Floats, result: Floats, *, first_row: int = 0, codes: Codes | None = None, dtype: str | None = None
) -> Measured:
    """Measure whole rows of a result beside a reference: float32 [..., K] both, axes before the last one are rows.

    ``first_row`` is the number of the first of them in the weight. ``codes`` are the 8-bit floats of type ``dtype``
    that the result was made of, one for each element: without them nothing is known of saturation. Differences and
    sums are float64. Raises CkptkitError when shapes or types do not fit.
    """
    import numpy as np

    _require(reference, result, codes, dtype)
    columns = result.shape[-1]
    ours, theirs = reference.reshape(-1), result.reshape(-1)
    if not ours.size:
        return Measured()
    found: compiled.ErrorSums | _Sums | None = compiled.error_sums(ours, theirs)
    if found is None:
        found = _Sums(min(_CHUNK, ours.size))
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, ours.size, _CHUNK):
                found.take(begin, ours[begin : begin + _CHUNK], theirs[begin : begin + _CHUNK])
    worst = None
    if found.place is not None:
        row, column = divmod(found.place, columns)
        worst = WorstElement(first_row + row, column, float(ours[found.place]), float(theirs[found.place]))
    zero_rows, dead_rows = _zero_rows(reference.reshape(-1, columns), result.reshape(-1, columns))
    saturated, clipped = (0, 0) if codes is None else _saturation(ours, theirs, codes.reshape(-1), str(dtype))
    return Measured(
        elements=ours.size,
        equal=found.equal,
        not_finite=found.not_finite,
        squares=found.squares,
        error_squares=found.error_squares,
        worst=worst,
        codes=0 if codes is None else codes.size,
        saturated=saturated,
        clipped=clipped,
        rows=ours.size // columns,
        zero_rows=zero_rows,
        dead_rows=dead_rows,
    )


class _Sums:
    """The sums over one stripe, chunk by chunk, and the place of the first element that is furthest off."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self.equal = self.not_finite = 0
        self.squares = self.error_squares = self.furthest = 0.0
        self.place: int | None = None
        self._buffers = np.empty((2, size))

    def take(self, begin: int, reference: Floats, result: Floats) -> None:
        import numpy as np

        wide, off = self._buffers[:, : reference.size]
        np.copyto(wide, reference)
        squares = _sum_of_squares(wide)
        np.copyto(off, result)
        off -= wide
        error = _sum_of_squares(off)
        same = reference == result
        if not math.isfinite(squares + error):
            bad = ~(np.isfinite(reference) & np.isfinite(result))
            self.not_finite += int(np.count_nonzero(bad))
            same &= ~bad
            off[bad] = wide[bad] = 0
            squares, error = _sum_of_squares(wide), _sum_of_squares(off)
        self.equal += int(np.count_nonzero(same))
        self.squares += squares
        self.error_squares += error
        far = max(float(off.max()), -float(off.min())) if error else 0.0
        if far > self.furthest:
            self.furthest, self.place = far, begin + int(np.argmax(np.abs(off)))


def _require(reference: Floats, result: Floats, codes: Codes | None, dtype: str | None) -> None:
    import numpy as np

    if reference.shape != result.shape or (codes is not None and codes.shape != result.shape) or not result.ndim:
        shapes = [str(list(part.shape)) for part in (reference, result, codes) if part is not None]
        raise CkptkitError(f"values of one shape are measured, not {' and '.join(shapes)}")
    if any(part.dtype != np.dtype(np.float32) for part in (reference, result)):
        raise CkptkitError(f"float32 values are measured, not {reference.dtype} and {result.dtype}")
    if codes is not None and (codes.dtype != np.dtype(np.uint8) or not _is_fp8(dtype)):
        raise CkptkitError(f"codes are bytes of an FP8 type, not {codes.dtype} of {dtype}")


def _is_fp8(dtype: str | None) -> bool:
    return dtype is not None and dtype in DTYPES and DTYPES[dtype].is_fp8


def _sum_of_squares(values: NDArray[np.float64]) -> float:
    import numpy as np

    parts = (values[begin : begin + _RUN] for begin in range(0, values.size, _RUN))
    return sum(float(np.dot(part, part)) for part in parts)


def _saturation(reference: Floats, result: Floats, codes: Codes, dtype: str) -> tuple[int, int]:
    """How many codes are the largest of their type, and behind how many of these there was more to say."""
    import numpy as np

    largest, reach = _end_of_range(dtype)
    saturated = clipped = 0
    for begin in range(0, codes.size, _CHUNK):
        places = np.flatnonzero((codes[begin : begin + _CHUNK] & 0x7F) == largest) + begin
        if places.size:
            saturated += places.size
            limits = np.abs(result[places].astype(np.float64)) * reach
            clipped += int(np.count_nonzero(np.abs(reference[places]) > limits))
    return saturated, clipped


@lru_cache(maxsize=8)
def _end_of_range(dtype: str) -> tuple[int, float]:
    """The code of the largest value without its sign, and how much further out values still round to it.

    >>> _end_of_range("F8_E4M3") == (0x7E, 464 / 448)
    True
    """
    from ckptkit.model.numbers import value_of

    largest = DTYPES[dtype].max_value or 0.0
    code = max(code for code in range(0x80) if value_of(dtype, code) == largest)
    return code, (largest + (largest - value_of(dtype, code - 1)) / 2) / largest


def _zero_rows(reference: Floats, result: Floats) -> tuple[int, int]:
    """Rows [r, K] of the result that are zero all over, and how many of these should not be."""
    import numpy as np

    candidates = np.flatnonzero(~result[:, :_FEW].any(axis=1))
    zero = candidates[~result[candidates].any(axis=1)]
    return zero.size, int(np.count_nonzero(reference[zero].any(axis=1)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
