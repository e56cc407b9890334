"""Quantizing without data: plain weights to FP8 codes and the scales that these need, stripe by stripe.

Whose tool the bytes are like decides how a scale is made of the largest magnitude and how a value is divided by it:
that is an :class:`Arithmetic`. What follows is common: saturation at 448, and E4M3 to nearest even.

Codes and scales are two results of one pass. A stripe of codes holds whole blocks, and gives their scales by the way;
one scale for a whole tensor takes a pass of its own before, which keeps one number for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.model.numbers import floats_of_bits, numbers, upper_halves, value_of
from ckptkit.operations import compiled
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.record import record
from ckptkit.storage.payload import Computed, Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.unsignedinteger[Any]]
    Floats = NDArray[np.float32]

#: Weight dtype -> its bits as an unsigned integer, and those of infinity, above which there are no numbers.
_SOURCES = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F80_0000)}
#: The dtypes that weights can be quantized from.
SOURCES = frozenset(_SOURCES)
_LARGEST = 448.0
#: Elements that are worked on at a time: what fits into a core's own cache.
_CHUNK = 1 << 16


@record
class Arithmetic:
    """How one tool makes scales and codes; ``None`` stands for the dtype of the weight.

    ``scale``: the dtype that ``largest magnitude / 448`` is rounded to, and stored in. ``quotient``: the dtype that a
    weight divided by its scale is rounded to, before it becomes E4M3; with ``reciprocal`` it is multiplied by
    ``1 / scale`` instead. ``zero``: by the scale's dtype, the scale of nothing but zeros (or of what is too small for a
    scale, or for its reciprocal). ``least``: by the weight's dtype, the least magnitude that counts as the largest one.
    """

    scale: str | None = None
    quotient: str | None = None
    zero: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    reciprocal: bool = False

    def parameters(self, dtype: str, block_shape: list[int]) -> Parameters:
        """The parameters of both operations for a weight of this dtype.

        ``block_shape``: the rows and columns that share a scale, 0 for all of them.
        """
        scale = self.scale or dtype
        return {
            "block_shape": block_shape,
            "scale_dtype": scale,
            "quotient_dtype": self.quotient or dtype,
            "zero_scale": self.zero.get(scale, 1.0),
            "least_magnitude": self.least.get(dtype, 0.0),
            "reciprocal": self.reciprocal,
        }


def promise_codes(inputs: Inputs, parameters: Parameters) -> Promise:
    """Half a step of three bits, and of the quotient's; what is small beside its block loses half the smallest step.

    Where the scale itself is so small that its dtype rounds it coarsely, or has no reciprocal, everything may be off by
    448 times that.
    """
    _check(inputs, parameters)
    rounding = {"BF16": 2.0**-8, "F16": 2.0**-10, "F32": 2.0**-22}[parameters["quotient_dtype"]]
    coarse = {"BF16": 2.0**-134, "F16": 2.0**-25, "F32": 2.0**-150}[parameters["scale_dtype"]]
    share = 2.0**-10 / _LARGEST * (1 + rounding)
    if parameters["reciprocal"]:
        coarse = max(coarse, 2.0**-127)
    absolute = _LARGEST * coarse + share * float(parameters["least_magnitude"])
    return Promise(FP8_WEIGHT, inputs[0].shape, Loss(2.0**-4 + rounding, absolute, share))


def promise_scales(inputs: Inputs, parameters: Parameters) -> Promise:
    """As many scales as there are blocks, in one line where they are one for each tensor."""
    _check(inputs, parameters)
    weight, (height, width) = inputs[0], parameters["block_shape"]
    *stack, rows, columns = weight.shape
    if height == 0:
        shape = (*stack, 1) if not stack else (*stack,)
    elif width == 0:
        shape = (*stack, rows)
    else:
        shape = (*stack, -(-rows // height), -(-columns // width))
    return Promise(str(parameters["scale_dtype"]), shape)


def _promise_magnitudes(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1 or inputs[0].dtype not in _SOURCES or len(inputs[0].shape) != 2:
        raise OperationError(f"takes one matrix in {', '.join(_SOURCES)}")
    return Promise("F32", inputs[0].shape[:1])


def _check(inputs: Inputs, parameters: Parameters) -> None:
    if len(inputs) != 1:
        raise OperationError(f"takes one weight, not {len(inputs)} tensors")
    (weight,) = inputs
    if weight.dtype not in _SOURCES or len(weight.shape) not in (2, 3) or 0 in weight.shape:
        wanted = ", ".join(_SOURCES)
        raise OperationError(f"takes weights of two or three axes in {wanted}, not {weight.dtype} {list(weight.shape)}")
    block = parameters.get("block_shape")
    if not isinstance(block, list) or len(block) != 2 or not all(type(n) is int and n >= 0 for n in block):
        raise OperationError("wants the parameter block_shape: rows and columns that share a scale")
    if (block[0] == 0) != (block[1] == 0) and block != [1, 0]:
        raise OperationError(f"knows blocks, rows and whole tensors, not {block}")
    if block[0] == 0 and len(weight.shape) == 3:
        raise OperationError("has no single scale for a stack")
    for name in ("scale_dtype", "quotient_dtype"):
        if parameters.get(name) not in _SOURCES:
            raise OperationError(f"wants the parameter {name}: one of {', '.join(_SOURCES)}")
    for name in ("zero_scale", "least_magnitude"):
        if not isinstance(parameters.get(name), float):
            raise OperationError(f"wants the parameter {name}: a number")


def step(inputs: Inputs, parameters: Parameters) -> int:
    """Stripes of a matrix hold whole blocks."""
    return 1 if len(inputs[0].shape) == 3 else max(1, parameters["block_shape"][0])


def _scales_first(inputs: Inputs, parameters: Parameters) -> Computed | None:
    """One scale for a whole tensor is known only after a look at all of it."""
    if parameters["block_shape"][0]:
        return None
    return Computed("quantization-scale", inputs, parameters, str(parameters["scale_dtype"]), (1,))


def _magnitudes_first(inputs: Inputs, parameters: Parameters) -> Computed | None:
    """The largest magnitude of each row, where all rows share a scale."""
    if parameters["block_shape"][0]:
        return None
    return Computed("largest-magnitudes", inputs, {}, "F32", inputs[0].shape[:1])


def rows_of_scales(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    """The rows of a weight that some rows of its scale are for; none where the magnitudes are known."""
    height = parameters["block_shape"][0]
    if len(inputs[0].shape) == 3:
        return (rows,)
    return (range(rows.start * height, min(rows.stop * height, inputs[0].shape[0])),)


def _compute_codes(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> tuple[Data, bytes]:
    """Codes, and the scales that a stripe of them gives by the way."""
    weight, *scale = pieces
    if scale:
        grid = stored_grid(scale[0])
        return codes_of(_bits(weight), weight.dtype, grid, parameters), b""
    codes, scales = [], []
    for matrix in _matrices(weight):
        grid = scales_of(magnitudes_of(matrix, weight.dtype, parameters["block_shape"]), parameters)
        codes.append(codes_of(matrix, weight.dtype, grid, parameters))
        scales.append(stored(grid, str(parameters["scale_dtype"])))
    return codes[0] if len(codes) == 1 else b"".join(codes), b"".join(scales)


def _compute_scales(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    weight, *magnitudes = pieces
    dtype, block = str(parameters["scale_dtype"]), parameters["block_shape"]
    if magnitudes:
        return stored(scales_of(largest(magnitudes[0]), parameters), dtype)
    found = (scales_of(magnitudes_of(matrix, weight.dtype, block), parameters) for matrix in _matrices(weight))
    return b"".join([stored(grid, dtype) for grid in found])


def _compute_magnitudes(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    return magnitudes_of(_bits(pieces[0]), pieces[0].dtype, [1, 0]).tobytes()


def stored_grid(scale: Piece) -> Floats:
    """The one scale of a whole tensor, as the grid that :func:`codes_of` takes."""
    return numbers(scale.dtype, scale.data).astype("<f4").reshape(1, 1)


def largest(magnitudes: Piece) -> Floats:
    """The largest of the magnitudes of all rows, as :func:`scales_of` takes it."""
    found: Floats = numbers("F32", magnitudes.data).astype("<f4").max(keepdims=True)
    return found.reshape(1, 1)


def _bits(piece: Piece) -> Bits:
    import numpy as np

    return np.frombuffer(piece.data, _SOURCES[piece.dtype][0]).reshape(piece.shape)


def _matrices(piece: Piece) -> Bits:
    """The matrices of a stack, or the one that there is."""
    bits = _bits(piece)
    return bits if bits.ndim == 3 else bits[None]


def magnitudes_of(bits: Bits, dtype: str, block: list[int]) -> Floats:
    """The largest magnitude in each block of a matrix [r, K] whose first row begins one, as float32 [rows, columns].

    Raises OperationError for what is no number: no scale is right for it.
    """
    import numpy as np

    largest = compiled.magnitudes(bits, block)
    if largest is None:
        largest = _largest_bits(_magnitude_bits(bits), block)
    infinity = _SOURCES[dtype][1]
    if (largest >= infinity).any():
        row, column = (int(n) for n in np.argwhere(_magnitude_bits(bits) >= infinity)[0])
        raise OperationError(f"the element at [{row}, {column}] of a stripe is not finite: no scale is right for it")
    return floats_of_bits(dtype, largest)


def _magnitude_bits(bits: Bits) -> Bits:
    """Bits without the sign: as integers they are in the order of magnitudes."""
    import numpy as np

    found: Bits = bits & bits.dtype.type(np.iinfo(bits.dtype).max >> 1)
    return found


def _largest_bits(magnitudes: Bits, block: list[int]) -> Bits:
    """The largest in each block of a matrix [r, K] whose first row begins one."""
    import numpy as np

    height, width = block
    if not width:
        found: Bits = magnitudes.max(axis=1, keepdims=True)
        return found
    bands = [magnitudes[start : start + height].max(axis=0) for start in range(0, len(magnitudes), height)]
    found = np.maximum.reduceat(np.stack(bands), np.arange(0, magnitudes.shape[1], width), axis=1)
    return found


def scales_of(magnitudes: Floats, parameters: Parameters) -> Floats:
    """The scales for the largest magnitudes of blocks, as float32 of which the scale's dtype holds every one."""
    import numpy as np

    dtype = str(parameters["scale_dtype"])
    least, zero = np.float32(parameters["least_magnitude"]), np.float32(parameters["zero_scale"])
    largest = np.where(magnitudes > 0, np.maximum(magnitudes, least), np.float32(0))
    scales = floats_of_bits(dtype, _rounded(largest / np.float32(_LARGEST), dtype))
    usable = scales > 0
    if parameters["reciprocal"]:
        with np.errstate(over="ignore", divide="ignore"):
            usable &= np.isfinite(np.float32(1) / scales)
    return np.where(usable, scales, zero)


def stored(scales: Floats, dtype: str) -> bytes:
    """Scales as the bytes of their type."""
    return _rounded(scales, dtype).tobytes()


def _rounded(values: Floats, dtype: str) -> Bits:
    """Values as the bits of a narrower type, to nearest even."""
    if dtype == "F32":
        return values.view("<u4")
    if dtype == "F16":
        import numpy as np

        with np.errstate(over="ignore"):
            return values.astype("<f2").view("<u2")
    return upper_halves(values)


def codes_of(bits: Bits, dtype: str, grid: Floats, parameters: Parameters) -> Data:
    """The E4M3 codes of a matrix [r, K] whose first row begins a block, under the scales [rows, columns] of blocks."""
    block, quotient, reciprocal = parameters["block_shape"], parameters["quotient_dtype"], parameters["reciprocal"]
    tie_free = not reciprocal and never_ties(dtype, grid, quotient)
    codes: Any = compiled.quantized(bits, dtype, grid, block, quotient, reciprocal=reciprocal, tie_free=tie_free)
    if codes is None:
        codes = _codes(bits, dtype, grid, parameters)
    return memoryview(codes).cast("B")


def never_ties(dtype: str, grid: Floats, quotient: str) -> bool:
    """Whether no quotient of a weight and its scale is half-way between two numbers of the type that it is rounded to.

    So it is where all three are BF16: of two integers below 256, none divided by the other is an odd multiple of half a
    step of 8 bits, or nearer to one than 2**-17 of itself.
    """
    import numpy as np

    is_narrow = dtype == quotient == "BF16"
    return is_narrow and not bool((np.ascontiguousarray(grid).view(np.uint32) & 0xFFFF).any())


def _codes(bits: Bits, dtype: str, grid: Floats, parameters: Parameters) -> NDArray[np.uint8]:
    """The same [r, K], by numpy."""
    import numpy as np

    height, width = parameters["block_shape"]
    rows, columns = bits.shape
    quotient, reciprocal = str(parameters["quotient_dtype"]), bool(parameters["reciprocal"])
    factors = np.float32(1) / grid if reciprocal else grid
    ties = reciprocal or not never_ties(dtype, grid, quotient)
    if width:
        factors = np.repeat(factors, width, axis=1)[:, :columns]
    codes = np.empty((rows, columns), np.uint8)
    chunk = max(1, _CHUNK // columns)
    start = 0
    while start < rows:
        stop = min(rows, start + chunk)
        if height > 1:
            stop = min(stop, (start // height + 1) * height)
        own = factors[start:stop] if height == 1 else factors[start // height if height else 0]
        values = floats_of_bits(dtype, bits[start:stop])
        out = None if dtype == "F32" else values
        with np.errstate(over="ignore"):
            values = np.multiply(values, own, out=out) if reciprocal else np.divide(values, own, out=out)
        _encode(values, quotient, codes[start:stop], ties=ties)
        start = stop
    return codes


def _encode(values: Floats, quotient: str, out: NDArray[np.uint8], *, ties: bool = True) -> None:
    """Quotients, rounded to ``quotient`` and then to E4M3: by a table of what 16 bits become.

    Without ``ties`` they are BF16, and none is half-way between two.

    What is exact in float32 keeps its upper half, whose last bit then says whether anything lies below: the half-way
    cases of E4M3 stay what they are.
    """
    import numpy as np

    upper: Any
    if not ties:
        upper = values.view("<u4") + np.uint32(0x8000)
        upper >>= 16
    elif quotient == "F32":
        bits = values.view("<u4")
        rest = (bits & 0xFFFF) != 0
        upper = bits >> 16
        upper |= rest
    else:
        upper = _rounded(values, quotient)
    np.take(_table("F16" if quotient == "F16" else "BF16"), upper, out=out, mode="clip")


@cache
def _table(dtype: str) -> Any:
    """The E4M3 code of every value of a 16-bit type, to nearest even and saturated."""
    import numpy as np

    with np.errstate(invalid="ignore"):  # NaNs, which never get here
        values = np.abs(floats_of_bits(dtype, np.arange(1 << 16, dtype="<u2"))).astype(np.float64)
    held = np.array([value_of(FP8_WEIGHT, code) for code in range(0x7F)])
    between = (held[:-1] + held[1:]) / 2
    codes = np.searchsorted(between, values)  # a value half-way between two goes to the lower one
    halfway = codes < len(between)
    halfway[halfway] = values[halfway] == between[codes[halfway]]
    codes += halfway & (codes % 2 == 1)
    codes[1 << 15 :] |= 0x80
    return codes.astype(np.uint8)


OPERATIONS = (
    Operation(
        "quantize",
        "plain floats as FP8 codes",
        promise_codes,
        step=step,
        first=_scales_first,
        beside="quantization-scale",
        compute_beside=_compute_codes,
    ),
    Operation(
        "quantization-scale",
        "the scale that FP8 codes of plain floats take",
        promise_scales,
        _compute_scales,
        rows_of_scales,
        surveys=True,
        first=_magnitudes_first,
    ),
    Operation("largest-magnitudes", "the largest magnitude of each row", _promise_magnitudes, _compute_magnitudes),
)
