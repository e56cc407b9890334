"""Operations that leave every byte as it is stored: names, shapes and places change."""

from __future__ import annotations

from ckptkit.operations.operation import Inputs, Operation, OperationError, Parameters, Promise


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


OPERATIONS = (
    Operation("keep", "the tensor as it is", _same_shape),
    Operation("rename", "the same tensor under another name", _same_shape),
    Operation("reshape", "the same values in the same order in another shape", _one_input),
    Operation("duplicate", "a stored tensor once more under another name", _one_input),
    Operation("take", "the value of another tensor", _donor),
    Operation("drop", "a stored tensor that is not written", _nothing),
    Operation("constant", "a value that the plan itself holds", _constant),
)
