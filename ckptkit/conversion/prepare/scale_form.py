"""Scales in another form: one written for each channel or block, and in another element type, where that is exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.conversion.prepare.prepared import TWO_FOLDERS, Prepared, stand_in
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import Changes
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.model.numbers import numbers
from ckptkit.operations.operation import OperationError
from ckptkit.operations.outputs import computed
from ckptkit.operations.scaling import encoded
from ckptkit.storage.container import Container
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef

_FINER: dict[str, Granularity] = {"channel": PerChannel(), "block": PerBlock(128, 128)}


def finer(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """The one scale of a weight stands for each of its channels or blocks: no value changes."""
    if request.granularity is None or request.target.weight_dtype is not None:
        return prepared
    granularity = _FINER[request.granularity]
    checkpoint = prepared.checkpoint
    schemes = {
        scheme: replace(scheme, weight=replace(scheme.weight, granularity=granularity))
        for scheme in checkpoint.schemes
        if isinstance(scheme.weight.granularity, PerTensor)
    }
    chosen = {
        name: module._replace(scheme=schemes[module.scheme])
        for name, module in checkpoint.modules.items()
        if module.scheme in schemes
    }
    others = [
        scheme for scheme in checkpoint.schemes if scheme not in schemes and scheme.weight.granularity != granularity
    ]
    refusals = tuple(
        Fault(
            "granularity",
            f"{plural(len(checkpoint.schemes[scheme]), 'module')} have several scales: others would round weights",
            None,
            checkpoint.schemes[scheme][0],
            str(granularity),
            str(scheme.weight.granularity),
            "other scales take a scheme (--scheme) and leave to round, allow_lossy (--allow-lossy)",
        )
        for scheme in others
    )
    reason = f"{plural(len(chosen), 'module')}: the one scale of a weight is written {granularity}: no value changes"
    result = replace(checkpoint, modules={**checkpoint.modules, **chosen})
    return prepared.then(result, {}, (), Changes(reasons=(reason,) if chosen else ()), refusals)


def retyped(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Weight scales in another element type; the scales are read where that may not hold them, and held to it."""
    wanted = request.scale_dtype
    if wanted is None or request.target.weight_dtype is not None:
        return prepared
    if not any(wanted in capabilities.scale_dtypes for _, capabilities in request.dialects):
        fault = Fault(
            "scale-dtype", f"{request.target.name} has no weight scales in {wanted}", None, None, None, wanted
        )
        return prepared.then(prepared.checkpoint, {}, (), None, (fault,))
    checkpoint = prepared.checkpoint
    made: dict[TensorRef, OutputTensor] = {}
    modules: dict[str, QuantizedModule] = {}
    read: dict[TensorRef, str] = {}
    for name, module in checkpoint.modules.items():
        scale = module.weight_scale
        if scale is None or scale.dtype == wanted:
            continue
        tensor = prepared.made.get(scale)
        if tensor is None:
            read[scale] = name
            tensor = computed(scale.name, "exact-cast", (scale,), {"dtype": wanted}, f"scales in {wanted}")
        elif tensor.operation == "mx-block-scales" and wanted in ("F32", "F8_E8M0"):
            parameters = {**tensor.parameters, "dtype": wanted}
            tensor = computed(tensor.name, tensor.operation, tensor.inputs, parameters, tensor.reason)
        else:
            message = f"{tensor.operation} makes its type itself"
            fault = Fault("scale-dtype", message, None, name, wanted, scale.dtype, TWO_FOLDERS)
            return prepared.then(checkpoint, {}, (), None, (fault,))
        made[stand_in(tensor)] = tensor
        modules[name] = module._replace(weight_scale=stand_in(tensor))
    refusals = tuple(_inexact(checkpoint.container, read, wanted))
    reason = f"{plural(len(modules), 'weight scale')} become {wanted}: every one was read, and has that value there"
    result = replace(checkpoint, modules={**checkpoint.modules, **modules})
    return prepared.then(result, made, (), Changes(reasons=(reason,) if modules else ()), refusals)


def _inexact(container: Container, scales: dict[TensorRef, str], dtype: str) -> Iterator[Fault]:
    """A fault for each scale that another type does not hold."""
    for tensor, data in container.read_many(scales):
        try:
            encoded(numbers(tensor.dtype, data), dtype)
        except OperationError as error:
            yield Fault("scale-dtype", str(error), tensor.shard, tensor.name, dtype, tensor.dtype)
