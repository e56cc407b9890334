"""What stored bytes are as numbers: every float type as float64, and weights times their scales. Needs numpy."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import DTYPES
from ckptkit.errors import CkptkitError
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.model.values import decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Floats = NDArray[np.float32]

#: 8-bit float -> exponent bits, mantissa bits, bias. Sources as in :mod:`ckptkit.dtypes`.
_LAYOUT = {"F8_E4M3": (4, 3, 7), "F8_E5M2": (5, 2, 15), "F8_E4M3FNUZ": (4, 3, 8), "F8_E5M2FNUZ": (5, 2, 16)}
_INFINITIES = {"F8_E5M2": {0x7C: math.inf, 0xFC: -math.inf}}
#: Types of weights that are not quantized and whose every value is a float32.
FLOAT32_HOLDS = frozenset({"BF16", "F16", "F32"})


def upper_halves(values: Floats) -> NDArray[np.uint16]:
    """Float32 values as the bits of BF16, to nearest even. A NaN may become a number: who has some looks first."""
    import numpy as np

    bits = values.view(np.uint32)
    found = bits >> 16
    found &= 1
    found += bits
    found += 0x7FFF
    found >>= 16
    return found.astype("<u2")


def floats(dtype: str, data: bytes) -> Floats:
    """The values of a BF16, F16 or F32 tensor as float32, which holds each of them, flat. Read-only where it is F32.

    Raises CkptkitError for a type that float32 does not hold.
    """
    import numpy as np

    if dtype not in FLOAT32_HOLDS:
        raise CkptkitError(f"{dtype} does not hold floating point numbers that float32 holds")
    return floats_of_bits(dtype, np.frombuffer(data, "<u4" if dtype == "F32" else "<u2"))


def floats_of_bits(dtype: str, bits: NDArray[np.unsignedinteger[Any]]) -> Floats:
    """The same of bits as unsigned integers, in an array of their shape, which for F32 is these very bits."""
    import numpy as np

    if dtype == "F32":
        return bits.view("<f4").astype(np.float32, copy=False)
    if dtype == "BF16":
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
        return bits.view("<f2").astype(np.float32)


def numbers(dtype: str, data: bytes) -> Numbers:
    """The values of a float tensor, float64 and flat, in the order in which they are stored.

    Raises CkptkitError for a type that holds no floats of whole bytes.
    """
    import numpy as np

    if dtype in FLOAT32_HOLDS:
        with np.errstate(invalid="ignore"):
            return floats(dtype, data).astype(np.float64)
    if dtype == "F64":
        return np.frombuffer(data, "<f8").astype(np.float64)
    if dtype in _LAYOUT or dtype == "F8_E8M0":
        found: Numbers = _table(dtype)[np.frombuffer(data, np.uint8)]
        return found
    raise CkptkitError(f"{dtype} does not hold floating point numbers of whole bytes")


def value_of(dtype: str, code: int) -> float:
    """The value of one code of an 8-bit float.

    >>> value_of("F8_E4M3", 0x7E), value_of("F8_E4M3", 0x01) * 512, value_of("F8_E5M2", 0xFC)
    (448.0, 1.0, -inf)
    """
    if dtype == "F8_E8M0":
        return decode(dtype, code)
    if code in DTYPES[dtype].nan_codes:
        return math.nan
    if code in _INFINITIES.get(dtype, {}):
        return _INFINITIES[dtype][code]
    exponent_bits, mantissa_bits, bias = _LAYOUT[dtype]
    mantissa = code & ((1 << mantissa_bits) - 1)
    exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
    significand = mantissa + ((1 << mantissa_bits) if exponent else 0)
    magnitude = math.ldexp(significand, max(exponent, 1) - bias - mantissa_bits)
    return -magnitude if code >> 7 else magnitude


@cache
def _table(dtype: str) -> Any:
    import numpy as np

    return np.array([value_of(dtype, code) for code in range(256)])


def dequantized(codes: Numbers, scale: Numbers, granularity: Granularity, first_row: int = 0) -> Numbers:
    """Some rows [r, K] of a weight times their scales.

    ``scale`` holds the whole scale tensor, flat, in its canonical order; ``first_row`` is the number of the first of
    the rows in the weight. Raises CkptkitError for a granularity that no weight has.
    """
    import numpy as np

    factor: Numbers
    rows = np.arange(first_row, first_row + codes.shape[0])
    columns = np.arange(codes.shape[1])
    if isinstance(granularity, PerTensor):
        factor = scale[:1]
    elif isinstance(granularity, PerChannel):
        factor = scale[rows][:, None]
    elif isinstance(granularity, PerBlock):
        grid = scale.reshape(-1, -(-len(columns) // granularity.columns))
        factor = grid[rows // granularity.rows][:, columns // granularity.columns]
    elif isinstance(granularity, PerGroup):
        grid = scale.reshape(-1, -(-len(columns) // granularity.size))
        factor = grid[rows][:, columns // granularity.size]
    else:
        raise CkptkitError(f"weights are not quantized {granularity}")
    return codes * factor
