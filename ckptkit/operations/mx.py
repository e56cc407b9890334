"""Microscaling formats: groups of 32 elements with a power of two each, as FP8 in blocks, or as plain floats.

A group's scale is an E8M0 code c, for 2**(c - 127). A block of FP8 has one scale, here a power of two 2**S as well, so
that an element v of a group becomes v * 2**d with d = c - 127 - S, in E4M3. E2M1 magnitudes reach from 0.5 to 6:
6 * 2**6 is below 448, and 0.5 * 2**-8 is E4M3's smallest number, of which 1.5 * 2**-8 is three. So E2M1 is exact for
-8 <= d <= 6, and a block is exact whose exponents spread by at most 14. E4M3 elements fill E4M3 whole: d = 0 alone is
exact whatever they are.

A scale code of 0 is what a group without any number but zero has. Such groups do not count, and are held to it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import BITS
from ckptkit.model.numbers import value_of
from ckptkit.operations import compiled
from ckptkit.operations.dequantize import rounded
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.record import record
from ckptkit.storage.payload import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Exponents = NDArray[np.int16]

GROUP = 32
NAN = 0xFF
_BIAS = 127
#: Dtypes that E8M0 codes are stored in.
SCALE_DTYPES = frozenset({"F8_E8M0", "U8"})


@record
class Element:
    """An element type: the code's magnitudes, and how far its exponents reach in E4M3.

    ``top`` is the d of a block's largest group, ``exact`` the least d at which every element stays exact, ``least`` one
    at which all become zero.
    """

    bits: int
    values: tuple[float, ...]
    top: int
    exact: int
    least: int
    dtypes: frozenset[str]

    def columns(self, width: int, dtype: str) -> int:
        """The elements of a row that is stored as ``width`` elements of ``dtype``."""
        return width * 2 if self.bits == 4 and dtype != "F4" else width


_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
ELEMENTS = {
    "F4": Element(4, (*_E2M1, *(-value for value in _E2M1)), 6, -8, -13, frozenset({"F4", "U8", "I8"})),
    "F8_E4M3": Element(8, tuple(value_of("F8_E4M3", code) for code in range(256)), 0, 0, -19, frozenset({"F8_E4M3"})),
}


def _checked(inputs: Inputs, parameters: Parameters) -> tuple[Element, int]:
    """The element type of a weight and its columns, if weight and scale are of these formats."""
    element = ELEMENTS.get(str(parameters.get("elements")))
    if element is None:
        raise OperationError(f"wants the parameter elements: {' or '.join(ELEMENTS)}")
    if len(inputs) != 2:
        raise OperationError(f"takes a weight and its scale, not {len(inputs)} tensors")
    weight, scale = inputs
    if weight.dtype not in element.dtypes or len(weight.shape) not in (2, 3):
        raise OperationError(f"takes weights of two or three axes, and not {weight.dtype} {list(weight.shape)}")
    columns = element.columns(weight.shape[-1], weight.dtype)
    wanted = (*weight.shape[:-1], columns // GROUP)
    if scale.dtype not in SCALE_DTYPES or scale.shape != wanted or columns % GROUP:
        raise OperationError(f"wants E8M0 scales {list(wanted)}, and not {scale.dtype} {list(scale.shape)}")
    return element, columns


def _rows_of_blocks(inputs: Inputs, parameters: Parameters) -> int:
    """Stripes of a matrix are whole rows of blocks."""
    return 1 if len(inputs[0].shape) == 3 else int(parameters["block_shape"][0])


def _block_shape(parameters: Parameters) -> tuple[int, int]:
    """The rows and columns of a block, the latter in whole groups."""
    block = parameters.get("block_shape")
    if not isinstance(block, list) or len(block) != 2 or not all(type(n) is int and n > 0 for n in block):
        raise OperationError("wants the parameter block_shape: rows and columns of a block")
    if block[1] % GROUP:
        raise OperationError(f"blocks of {block[1]} columns are not whole groups of {GROUP}")
    return block[0], block[1]


def _blocks_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    _, columns = _checked(inputs, parameters)
    _block_shape(parameters)
    worst = parameters.get("worst")
    if worst is not None and type(worst) is not int:
        raise OperationError("the parameter worst is the exponent of the largest scale of a block that is rounded")
    loss = None if worst is None else Loss(0.0, 2.0 ** (worst - 10))
    return Promise("F8_E4M3", (*inputs[0].shape[:-1], columns), loss)


def _blocks_compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> Data:
    import numpy as np

    weight, scale = pieces
    kind = str(parameters["elements"])
    codes = np.frombuffer(weight.data, np.uint8).reshape(-1, weight.shape[-2], _width(weight))
    scales = np.frombuffer(scale.data, np.uint8).reshape(-1, *scale.shape[-2:])
    exact, block = parameters.get("worst") is None, _block_shape(parameters)
    pairs = zip(codes, scales, strict=True)
    made: list[Any] = [in_blocks(kind, part, own, block, exact=exact) for part, own in pairs]
    return memoryview(made[0]).cast("B") if len(made) == 1 else b"".join([part.tobytes() for part in made])


def _width(piece: Piece) -> int:
    """The bytes of a row."""
    return piece.shape[-1] // 2 if piece.dtype == "F4" else piece.shape[-1]


def in_blocks(kind: str, codes: Codes, scales: Codes, block: tuple[int, int], *, exact: bool) -> NDArray[Any]:
    """Bytes of elements [r, b] and E8M0 codes [r, K/32] as E4M3 codes, r rows that begin with a row of blocks.

    Raises OperationError for what is no number, for what would be rounded if ``exact``, and for numbers in a group
    whose scale says that it has none.
    """
    import numpy as np

    element = ELEMENTS[kind]
    if (scales == NAN).any():
        raise OperationError("a scale is no number")
    tops = block_exponents(scales, block)
    height, width = block[0], block[1] // GROUP
    spread = np.repeat(np.repeat(tops, height, axis=0)[: len(scales)], width, axis=1)[:, : scales.shape[1]]
    shift = scales.astype(np.int16) - spread + element.top  # d of each group
    wide = np.clip(shift, element.least, element.top)
    per_group = GROUP * element.bits // 8
    rounded_off = (shift < element.exact) & ((scales == 0) if not exact else True)
    if rounded_off.any():
        groups = codes.reshape(len(codes), -1, per_group)
        held = _any_number(kind, groups) & rounded_off
        if held.any():
            place = [int(n) for n in np.argwhere(held)[0]]
            zero = scales[tuple(place)] == 0
            what = "has numbers, and the scale of zeros" if zero else "would be rounded, which is not planned"
            raise OperationError(f"the group {place} of a stripe {what}")
    found, largest = _looked_up(codes.reshape(-1, per_group), (wide - element.least).ravel(), _table(kind))
    if kind != "F4" and largest == 0x7F:
        raise OperationError("an element is no number")
    return found.reshape(codes.shape)


def _looked_up(groups: Codes, rows: Exponents, table: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Bytes of groups [g, b] by a table [n, 256], each group by the row that ``rows`` [g] names.

    And the largest of the bytes, without their highest bits, where the table has one byte for each.
    """
    import numpy as np

    found = compiled.looked_up(groups, rows, table)
    if found is not None:
        return found
    index = rows.astype(np.uint16)[:, None] << 8
    largest = int((groups & 0x7F).max(initial=0)) if table.itemsize == 1 else 0
    return np.take(table.ravel(), index + groups), largest


def block_exponents(scales: Codes, block: tuple[int, int]) -> NDArray[Any]:
    """The largest E8M0 code of each block [ceil(r / rows), ceil(K / columns)] of groups [r, K/32], as int16."""
    import numpy as np

    by_rows = np.maximum.reduceat(scales, np.arange(0, len(scales), block[0]), axis=0)
    starts = np.arange(0, scales.shape[1], block[1] // GROUP)
    return np.maximum.reduceat(by_rows, starts, axis=1).astype(np.int16)


def least_exponents(scales: Codes, block: tuple[int, int]) -> NDArray[Any]:
    """The smallest E8M0 code of each block but 0, and 256 where there is no other."""
    import numpy as np

    counted = np.where(scales == 0, np.int16(256), scales.astype(np.int16))
    by_rows = np.minimum.reduceat(counted, np.arange(0, len(scales), block[0]), axis=0)
    return np.minimum.reduceat(by_rows, np.arange(0, scales.shape[1], block[1] // GROUP), axis=1)


def scale_exponents(tops: NDArray[Any], kind: str) -> NDArray[Any]:
    """The exponent S of each block's scale for its largest code: 0 for a block without a number."""
    import numpy as np

    return np.where(tops == 0, 0, tops - _BIAS - ELEMENTS[kind].top)


def _any_number(kind: str, groups: Codes) -> NDArray[np.bool_]:
    """Which groups [r, g, bytes] hold anything but zeros of either sign."""
    mask = 0x77 if kind == "F4" else 0x7F
    found: NDArray[np.bool_] = ((groups & mask) != 0).any(axis=-1)
    return found


@cache
def _table(kind: str) -> Any:
    """[d - least, byte] -> E4M3 codes: one of a byte, or two of a byte's nibbles, the low one first."""
    import numpy as np

    element = ELEMENTS[kind]
    powers = range(element.least, element.top + 1)
    single = np.array([[nearest(value * 2.0**power) for value in element.values] for power in powers], np.uint8)
    if element.bits == 8:
        return single
    low, high = np.arange(256) & 15, np.arange(256) >> 4
    pairs: NDArray[Any] = single[:, low].astype("<u2") | (single[:, high].astype("<u2") << 8)
    return np.ascontiguousarray(pairs)


def nearest(value: float) -> int:
    """The E4M3 code nearest to a value of a magnitude up to 448, ties to even, signs of zero kept; NaN's for NaN."""
    import math

    sign = 0x80 if math.copysign(1.0, value) == -1.0 else 0
    if value != value:
        return sign | 0x7F
    magnitude = abs(value)
    best = min(range(0x7F), key=lambda code: (abs(value_of("F8_E4M3", code) - magnitude), code & 1))
    return sign | best


def _scales_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    """The scale [..., N, K/32] alone; ``dtype`` is F32 or F8_E8M0."""
    rows, columns = _block_shape(parameters)
    if len(inputs) != 1 or len(inputs[0].shape) not in (2, 3) or inputs[0].dtype not in SCALE_DTYPES:
        raise OperationError("takes E8M0 scales of groups, one tensor of two or three axes")
    if str(parameters.get("elements")) not in ELEMENTS or parameters.get("dtype") not in ("F32", "F8_E8M0"):
        raise OperationError("wants the parameters elements, and dtype: F32 or F8_E8M0")
    *stack, height, groups = inputs[0].shape
    shape = (*stack, -(-height // rows), -(-groups * GROUP // columns))
    return Promise(str(parameters["dtype"]), shape)


def _scale_rows(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    if len(inputs[0].shape) == 3:
        return (rows,)
    height = int(parameters["block_shape"][0])
    return (range(rows.start * height, min(rows.stop * height, inputs[0].shape[0])),)


def _scales_compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    import numpy as np

    (scale,) = pieces
    block, kind = _block_shape(parameters), str(parameters["elements"])
    parts = np.frombuffer(scale.data, np.uint8).reshape(-1, *scale.shape[-2:])
    tops = np.stack([block_exponents(part, block) for part in parts])
    exponents = scale_exponents(tops, kind)
    if parameters["dtype"] == "F32":
        wide: NDArray[Any] = np.ldexp(np.float32(1), exponents).astype("<f4")
        return wide.tobytes()
    codes: NDArray[Any] = exponents + _BIAS
    if (codes < 0).any():
        raise OperationError("a scale is below the least that E8M0 has")
    return codes.astype(np.uint8).tobytes()


def _floats_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    """The weight as plain floats; with ``transposed`` every matrix of a stack, [N, K], becomes [K, N]."""
    element, columns = _checked(inputs, parameters)
    dtype = str(parameters.get("dtype"))
    if dtype not in _LOSSES:
        raise OperationError(f"makes {', '.join(_LOSSES)}, and not {dtype}")
    exact = dtype == "F32" or (dtype == "BF16" and element.bits == 4)
    *stack, rows, _ = inputs[0].shape
    if parameters.get("transposed") and not stack:
        raise OperationError("only stacks are transposed: their experts are stripes")
    shape = (*stack, columns, rows) if parameters.get("transposed") else (*stack, rows, columns)
    return Promise(dtype, shape, None if exact else _LOSSES[dtype])


#: Type -> how far values may be off: mantissas fit, so that only the smallest numbers are rounded.
_LOSSES = {"F32": Loss(0.0), "BF16": Loss(0.0, 2.0**-134), "F16": Loss(0.0, 2.0**-25)}


def _floats_compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> Data:
    import numpy as np

    weight, scale = pieces
    kind, dtype = str(parameters["elements"]), str(parameters["dtype"])
    factors = _powers(scale)
    if np.isnan(factors).any():
        raise OperationError("a scale is no number")
    groups = np.frombuffer(weight.data, np.uint8).reshape(len(factors), -1)
    found = times(kind, groups, factors, dtype)
    if not parameters.get("transposed"):
        return found
    stack = np.frombuffer(found, f"<u{BITS[dtype] // 8}").reshape(*weight.shape[:-1], -1)
    turned: bytes = stack.swapaxes(-1, -2).tobytes()
    return turned


def _powers(scale: Piece) -> NDArray[np.float32]:
    """What each group's code stands for; NaN for NaN's."""
    import numpy as np

    codes = np.frombuffer(scale.data, np.uint8)
    exponents = np.minimum(codes, NAN - 1).astype(np.int32) - _BIAS
    found: NDArray[np.float32] = np.ldexp(np.float32(1), exponents).astype(np.float32)
    found[codes == NAN] = np.nan
    return found


def products(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> NDArray[np.float32]:
    """Some rows of a matrix as float32, which is what is rounded to the wanted type. What is no number stays."""
    import numpy as np

    weight, scale = pieces
    factors = _powers(scale)
    groups = np.frombuffer(weight.data, np.uint8).reshape(len(factors), -1)
    return wide_products(str(parameters["elements"]), groups, factors).reshape(len(rows), -1)


def wide_products(kind: str, groups: Codes, factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bytes of groups [g, b] times the factor [g] of each, as float32 [g, elements], numbers or not."""
    import numpy as np

    found = _compiled_products(kind, groups, factors, "F32")
    if found is not None:
        return np.frombuffer(found, np.float32).reshape(len(groups), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[np.float32] = np.take(_values(kind), groups, axis=0).reshape(len(groups), -1)
        return values * factors[:, None]


def times(kind: str, groups: Codes, factors: NDArray[np.float32], dtype: str) -> Data:
    """Bytes of groups [g, b] times the factor [g] of each, by float32 products that are rounded once.

    Raises OperationError for what is no number, or becomes none.
    """
    import numpy as np

    found = _compiled_products(kind, groups, factors, dtype)
    if found is not None:
        return found
    with np.errstate(over="ignore"):  # what is no number is refused
        return rounded(wide_products(kind, groups, factors), dtype)


def _compiled_products(kind: str, groups: Codes, factors: NDArray[np.float32], dtype: str) -> Data | None:
    """Bytes of groups [g, b] times the factors [g]; None where compiled loops do not pay, or cannot do it."""
    if kind == "F4":
        return compiled.pairs_dequantized(groups, factors, dtype)
    return compiled.dequantized(kind, groups, factors[:, None], [1, 0], 0, dtype)


@cache
def _values(kind: str) -> Any:
    """Byte -> the float32 values of its elements [256, 1 or 2]."""
    import numpy as np

    values = np.array(ELEMENTS[kind].values, np.float32)
    if ELEMENTS[kind].bits == 8:
        return values[:, None]
    byte = np.arange(256)
    return np.stack([values[byte & 15], values[byte >> 4]], axis=1)


OPERATIONS = (
    Operation(
        "mx-to-blocks",
        "elements of groups with powers of two as FP8 in blocks",
        _blocks_promise,
        _blocks_compute,
        step=_rows_of_blocks,
    ),
    Operation(
        "mx-block-scales",
        "the power of two of each block, of those of its groups",
        _scales_promise,
        _scales_compute,
        _scale_rows,
    ),
    Operation("mx-dequantize", "elements of groups times their powers of two", _floats_promise, _floats_compute),
)
