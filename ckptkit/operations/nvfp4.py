"""NVFP4 as plain floats: groups of 16 E2M1 elements with an E4M3 scale each, and one float32 scale of these.

The factor of a group is a float32: its scale times the second one, or divided by it, as the tool means it that wrote
the file. The float32 product of element and factor is rounded to the wanted type once. Both are what the tools
themselves do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.model.numbers import numbers
from ckptkit.operations.mx import times, wide_products
from ckptkit.operations.operation import Inputs, Loss, Operation, OperationError, Parameters, Piece, Promise
from ckptkit.storage.payload import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 16
_SCALE = "F8_E4M3"
#: Type -> how far values may be off: the rounding of the factor, that of the product, and that to the type.
_FACTOR = Loss(2.0**-24, 2.0**-149)
_LOSSES = {
    "F32": _FACTOR + Loss(2.0**-24, 2.0**-149),
    "BF16": _FACTOR + Loss(2.0**-8, 2.0**-133),
    "F16": _FACTOR + Loss(2.0**-10, 2.0**-24),
}


def _promise(inputs: Inputs, parameters: Parameters) -> Promise:
    """Weight U8 [..., N, K/2], scale E4M3 [..., N, K/16] and second scale F32, one number.

    ``divides``: whether scales are divided by the second one.
    """
    if len(inputs) != 3:
        raise OperationError(f"takes a weight, its scale and the scale of that, not {len(inputs)} tensors")
    weight, scale, second = inputs
    dtype = str(parameters.get("dtype"))
    if dtype not in _LOSSES or not isinstance(parameters.get("divides"), bool):
        raise OperationError(f"wants the parameters dtype, one of {', '.join(_LOSSES)}, and divides, true or false")
    if weight.dtype not in ("U8", "I8") or len(weight.shape) not in (2, 3):
        raise OperationError(f"takes weights of two or three axes in U8, and not {weight.dtype} {list(weight.shape)}")
    columns = weight.shape[-1] * 2
    wanted = (*weight.shape[:-1], columns // GROUP)
    if scale.dtype != _SCALE or scale.shape != wanted or columns % GROUP:
        raise OperationError(f"wants {_SCALE} scales {list(wanted)}, and not {scale.dtype} {list(scale.shape)}")
    if second.dtype != "F32" or second.numel != 1:
        raise OperationError(f"wants one F32 number as the second scale, not {second.dtype} {list(second.shape)}")
    return Promise(dtype, (*weight.shape[:-1], columns), _LOSSES[dtype])


def _rows_needed(inputs: Inputs, parameters: Parameters, rows: range) -> tuple[range, ...]:
    return rows, rows, range(1)


def _compute(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> Data:
    import numpy as np

    groups, factors = _with_factors(pieces, parameters)
    if not np.isfinite(factors).all():
        raise OperationError("a scale is no number, or becomes none by the second one")
    return times("F4", groups, factors, str(parameters["dtype"]))


def products(pieces: tuple[Piece, ...], parameters: Parameters, rows: range) -> NDArray[np.float32]:
    """Some rows of a matrix as float32, which is what is rounded to the wanted type. What is no number stays."""
    return wide_products("F4", *_with_factors(pieces, parameters)).reshape(len(rows), -1)


def _with_factors(pieces: tuple[Piece, ...], parameters: Parameters) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Bytes of groups [g, 8], and the factor [g] of each."""
    import numpy as np

    weight, scale, second = pieces
    scales = numbers(_SCALE, scale.data).astype(np.float32)
    (single,) = numbers("F32", second.data).astype(np.float32)
    with np.errstate(all="ignore"):  # who wants numbers looks for what is none
        factors = (scales / single if parameters["divides"] else scales * single).astype(np.float32)
    return np.frombuffer(weight.data, np.uint8).reshape(len(factors), -1), factors


OPERATIONS = (
    Operation(
        "nvfp4-dequantize", "elements of groups times both levels of their scales", _promise, _compute, _rows_needed
    ),
)
