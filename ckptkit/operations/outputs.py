"""Output tensors, made so that they keep what their operations promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter

from ckptkit.errors import Fault
from ckptkit.operations.operation import Inputs, Loss, OperationError, Parameters, Promise
from ckptkit.operations.table import operation
from ckptkit.storage.output import AS_STORED, CONSTANT, OutputTensor, output_tensor
from ckptkit.storage.payload import TensorRef, count, same_count

_NONE: Parameters = {}


def keep(tensor: TensorRef) -> OutputTensor:
    """A stored tensor as it is."""
    return output_tensor((tensor.name, tensor.dtype, tensor.shape, "keep", (tensor,), _NONE, ""))


def as_stored(
    tensor: TensorRef, name: str, shape: tuple[int, ...], reason: str = "", *, duplicate: bool = False
) -> OutputTensor:
    """The bytes of a stored tensor under another name or in another shape; ``duplicate`` marks a second use of them."""
    if duplicate:
        what = "duplicate"
    elif shape != tensor.shape:
        what = "reshape"
    else:
        what = "keep" if name == tensor.name else "rename"
    return output_tensor((name, tensor.dtype, shape, what, (tensor,), _NONE, reason))


def kept(tensors: Sequence[TensorRef]) -> Iterator[OutputTensor]:
    """Stored tensors as they are: each as :func:`keep` makes it, in half the time."""
    names, dtypes, shapes = (map(itemgetter(field), tensors) for field in range(3))
    return map(output_tensor, zip(names, dtypes, shapes, repeat("keep"), zip(tensors), repeat(_NONE), repeat("")))


def likewise(sample: OutputTensor, named: Iterable[tuple[TensorRef, str]]) -> Iterator[OutputTensor]:
    """What a sample is of one tensor, of others that have its dtype and shape, each under a name of its own."""
    _, dtype, shape, what, _, parameters, reason = sample
    stays = what in ("keep", "rename")
    for tensor, name in named:
        own = what if not stays else "keep" if name == tensor.name else "rename"
        yield output_tensor((name, dtype, shape, own, (tensor,), parameters, reason))


def renamed(tensor: OutputTensor, name: str) -> OutputTensor:
    """An output tensor under another name."""
    return _relabelled(tensor._replace(name=name))


def reshaped(tensor: OutputTensor, shape: tuple[int, ...]) -> OutputTensor:
    """An output tensor in another shape. Raises OperationError when that has another number of elements."""
    if count(shape) != count(tensor.shape):
        raise OperationError(f"{tensor.name} {list(tensor.shape)} cannot become {list(shape)}")
    return _relabelled(tensor._replace(shape=shape))


def with_value_of(tensor: OutputTensor, donor: OutputTensor) -> OutputTensor:
    """An output tensor with the stored bytes of another one. Raises OperationError when the two do not fit."""
    if {tensor.operation, donor.operation} - AS_STORED:
        raise OperationError(f"{tensor.name} or {donor.name} is computed")
    taken = tensor._replace(operation="take", inputs=(tensor.inputs[0], donor.inputs[-1]))
    promise_of(taken)
    return taken


def _relabelled(tensor: OutputTensor) -> OutputTensor:
    """The operation that fits what an output tensor has become."""
    if tensor.operation not in ("keep", "rename", "reshape"):
        return tensor
    return as_stored(tensor.inputs[0], tensor.name, tensor.shape, tensor.reason)


def labels(tensor: OutputTensor) -> tuple[str, ...]:
    """What happens to a tensor, in words of the table: its operation, and whether name or shape change by the way."""
    source = tensor.inputs[0] if tensor.inputs else None
    if source is None or tensor.operation == "keep":
        return (tensor.operation,)
    if tensor.operation == CONSTANT or operation(tensor.operation).surveys:
        return (tensor.operation,)
    found = ["duplicate"] if tensor.operation == "duplicate" else []
    found += ["rename"] if tensor.name != source.name else []
    found += ["reshape"] if tensor.shape != source.shape else []
    return tuple(found if tensor.operation in _METADATA else [*found, tensor.operation])


def computed(
    name: str,
    operation_name: str,
    inputs: Inputs,
    parameters: Parameters = _NONE,
    reason: str = "",
    *,
    shape: tuple[int, ...] | None = None,
) -> OutputTensor:
    """What an operation makes of some tensors. Raises OperationError when it cannot.

    ``shape`` is for operations that leave it open, by default the first input's.
    """
    promised = operation(operation_name).promise(inputs, parameters)
    found = promised.shape if promised.shape is not None else shape if shape is not None else inputs[0].shape
    return OutputTensor(name, promised.dtype, found, operation_name, inputs, parameters, reason)


def promise_of(tensor: OutputTensor) -> Promise:
    """What the operation of an output tensor promises. Raises OperationError when it cannot be done."""
    return operation(tensor.operation).promise(tensor.inputs, tensor.parameters)


def is_exact(operation_name: str) -> bool:
    """Whether no parameter of an operation makes it lose anything."""
    return operation_name in _EXACT


def loss_of(tensor: OutputTensor) -> Loss | None:
    """How far the values of an output tensor may be off; None when they are exact."""
    return None if is_exact(tensor.operation) else promise_of(tensor).loss


def broken_promises(tensors: Iterable[OutputTensor]) -> Iterator[Fault]:
    """Where an output tensor is not what its operation makes of its inputs."""
    for tensor in tensors:
        name, dtype, shape, what, inputs, _, _ = tensor
        if len(inputs) == 1:
            called, stored_dtype, stored_shape, _, _, _ = inputs[0]
            if what == "keep" and stored_shape == shape and stored_dtype == dtype and called == name:
                continue
            if what in _METADATA and stored_dtype == dtype and same_count(stored_shape, shape):
                continue
        try:
            promised = promise_of(tensor)
        except OperationError as error:
            yield _fault(tensor, str(error), None, None)
            continue
        if tensor.dtype != promised.dtype:
            yield _fault(tensor, "makes another dtype", promised.dtype, tensor.dtype)
        shape = promised.shape if promised.shape is not None else tensor.inputs[0].shape
        if count(tensor.shape) != count(shape):
            yield _fault(tensor, "makes another shape", str(list(shape)), str(list(tensor.shape)))


#: Operations that labels show as what they change.
_METADATA = frozenset({"rename", "reshape", "duplicate"})
#: Operations of which no parameter makes a loss.
_EXACT = frozenset({"keep", "rename", "reshape", "duplicate", "take", "slice", "concat", "constant"})


def _fault(tensor: OutputTensor, what: str, expected: str | None, found: str | None) -> Fault:
    shard = tensor.inputs[0].shard if tensor.inputs else None
    return Fault("operation", f"{tensor.operation} {what}", shard, tensor.name, expected, found)
