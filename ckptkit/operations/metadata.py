"""Operations that leave every byte as it is stored: names, shapes and places change."""

from __future__ import annotations

from ckptkit.dtypes import BITS
from ckptkit.operations.operation import Inputs, Operation, OperationError, Parameters, Promise
from ckptkit.storage.payload import count


def _one_input(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 1:
        raise OperationError(f"takes one tensor, not {len(inputs)}")
    return Promise(inputs[0].dtype, None)


def _same_shape(inputs: Inputs, parameters: Parameters) -> Promise:
    return Promise(_one_input(inputs, parameters).dtype, inputs[0].shape)


def _donor(inputs: Inputs, parameters: Parameters) -> Promise:
    if len(inputs) != 2 or (inputs[0].dtype, inputs[0].numel) != (inputs[1].dtype, inputs[1].numel):
        raise OperationError("takes a tensor and one of the same dtype and size to take the value of")
    return Promise(inputs[0].dtype, None)


def _nothing(inputs: Inputs, parameters: Parameters) -> Promise:
    raise OperationError("makes no tensor")


def _constant(inputs: Inputs, parameters: Parameters) -> Promise:
    try:
        bytes.fromhex(parameters["hex"])
        return Promise(str(parameters["dtype"]), tuple(int(extent) for extent in parameters["shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise OperationError("wants the parameters dtype, shape and hex") from error


def _slice(inputs: Inputs, parameters: Parameters) -> Promise:
    """``first``: the number of the first element; ``shape``: that of the result. Elements end between bytes."""
    dtype = _one_input(inputs, parameters).dtype
    first, shape = parameters.get("first"), parameters.get("shape")
    if type(first) is not int or first < 0 or not isinstance(shape, list) or not all(type(n) is int for n in shape):
        raise OperationError("wants the parameters first and shape")
    if BITS[dtype] % 8 or first + count(tuple(shape)) > inputs[0].numel or min(shape, default=0) < 0:
        raise OperationError(f"{shape} from element {first} on is no part of {dtype} {list(inputs[0].shape)}")
    return Promise(dtype, tuple(shape))


def _concat(inputs: Inputs, parameters: Parameters) -> Promise:
    """``shape`` is that of the result."""
    shape = parameters.get("shape")
    if not inputs or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise OperationError("wants tensors and the parameter shape")
    if len({tensor.dtype for tensor in inputs}) > 1 or BITS[inputs[0].dtype] % 8:
        raise OperationError("takes tensors of one dtype, whose elements end between bytes")
    if sum(tensor.numel for tensor in inputs) != count(tuple(shape)):
        raise OperationError(f"its inputs do not fill {shape}")
    return Promise(inputs[0].dtype, tuple(shape))


OPERATIONS = (
    Operation("keep", "the tensor as it is", _same_shape),
    Operation("rename", "the same tensor under another name", _same_shape),
    Operation("reshape", "the same values in the same order in another shape", _one_input),
    Operation("duplicate", "a stored tensor once more under another name", _one_input),
    Operation("take", "the value of another tensor", _donor),
    Operation("drop", "a stored tensor that is not written", _nothing),
    Operation("slice", "a run of a stored tensor's elements", _slice),
    Operation("concat", "stored tensors one after the other", _concat),
    Operation("constant", "a value that the plan itself holds", _constant),
)
