"""Scales in another form, and codes of one E4M3 encoding as those of the other: all exact, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.dtypes import SCALE_DTYPES
from ckptkit.model.numbers import numbers
from ckptkit.operations.operation import Inputs, Operation, OperationError, Parameters, Piece, Promise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FN, FNUZ = "F8_E4M3", "F8_E4M3FNUZ"
_BIAS = 127


def _relabel_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1 or (inputs[0].dtype, parameters.get("dtype")) not in ((FN, FNUZ), (FNUZ, FN)):
        raise OperationError(f"takes {FN} or {FNUZ}, and the other one as the parameter dtype")
    return Promise(str(parameters["dtype"]), inputs[0].shape)


def _relabel(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    """The same codes, which then mean twice or half the value; -0 becomes 0 where there is none."""
    import numpy as np

    (piece,) = pieces
    codes = np.frombuffer(piece.data, np.uint8)
    if piece.dtype == FNUZ:
        wrong, what = (codes & 0x7F) == 0x7F, "is 240 or -240, whose code is NaN in E4M3"
        wrong |= codes == 0x80
        if (codes == 0x80).any():
            what = "is no number, or 240 or -240, whose code is NaN in E4M3"
    else:
        wrong, what = (codes & 0x7F) == 0x7F, "is no number"
    if wrong.any():
        width = piece.shape[-1] if piece.shape else 1
        row, column = divmod(int(np.flatnonzero(wrong)[0]), width)
        raise OperationError(f"the element at {[row, column]} of a stripe {what}")
    if piece.dtype == FNUZ:
        return bytes(piece.data)
    made: NDArray[np.uint8] = np.where(codes == 0x80, np.uint8(0), codes)
    return made.tobytes()


def _power_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1 or inputs[0].dtype not in SCALE_DTYPES:
        raise OperationError(f"takes one scale in {', '.join(sorted(SCALE_DTYPES))}")
    if parameters.get("power") not in (-1, 1):
        raise OperationError("wants the parameter power: 1 or -1")
    return Promise(inputs[0].dtype, None)


def _times_power(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    import numpy as np

    (piece,) = pieces
    with np.errstate(invalid="ignore"):  # what is no number is refused
        values = numbers(piece.dtype, piece.data) * 2.0 ** int(parameters["power"])
    return encoded(values, piece.dtype)


def encoded(values: NDArray[np.float64], dtype: str) -> bytes:
    """Scales in a type that holds them exactly. Raises OperationError for the first that it does not hold."""
    import numpy as np

    with np.errstate(all="ignore"):
        if dtype == "F8_E8M0":
            exponents = np.frexp(values)[1] - 1 + _BIAS
            data = np.clip(exponents, 0, 254).astype(np.uint8).tobytes()
        elif dtype == "BF16":
            data = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            data = values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        wrong = (numbers(dtype, data) != values) | ~np.isfinite(values)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        kind = "no power of two that E8M0 holds" if dtype == "F8_E8M0" else f"not held by {dtype} exactly"
        raise OperationError(f"the scale {at} is {values[at]:g}: {kind}")
    return bytes(data)


def _narrow_promise(inputs: Inputs, parameters: Parameters) -> Promise:
    wanted = parameters.get("dtype")
    if len(inputs) != 1 or inputs[0].dtype not in SCALE_DTYPES or wanted not in SCALE_DTYPES:
        raise OperationError(f"takes one scale and the parameter dtype, of {', '.join(sorted(SCALE_DTYPES))}")
    return Promise(str(wanted), None)


def _narrow(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> bytes:
    (piece,) = pieces
    return encoded(numbers(piece.dtype, piece.data), str(parameters["dtype"]))


OPERATIONS = (
    Operation("relabel", "codes of one E4M3 encoding as those of the other", _relabel_promise, _relabel),
    Operation("times-two", "scales doubled or halved", _power_promise, _times_power),
    Operation("exact-cast", "scales in another type that holds them, each held to it", _narrow_promise, _narrow),
)
#: What a code of one encoding is worth in the other: the power of two that scales take in return.
POWERS = {FNUZ: -1, FN: 1}
