"""Weights in e4m3fnuz, which loaders of every format misread, as e4m3fn: the same codes, and scales half as large."""

from __future__ import annotations

from dataclasses import replace

from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.request import ConversionRequest
from ckptkit.dtypes import DTYPES, FP8_WEIGHT
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import Changes
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.operations.outputs import computed
from ckptkit.operations.scaling import FNUZ, POWERS
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Relabel every weight in e4m3fnuz; a weight of another encoding than e4m3fn is refused."""
    checkpoint = prepared.checkpoint
    if not prepared.made and all(kind.first.weight.dtype == FP8_WEIGHT for kind in checkpoint.alike):
        return prepared
    made: dict[TensorRef, OutputTensor] = {}
    modules: dict[str, QuantizedModule] = {}
    refusals: list[Fault] = []
    relabelled = 0
    for name, module in checkpoint.modules.items():
        before = prepared.made.get(module.weight)
        if module.weight.dtype == FNUZ:
            modules[name] = _relabelled(module, made)
            relabelled += 1
        elif before is not None and before.inputs[0].dtype == FNUZ and module.input_scale is not None:
            modules[name] = module._replace(input_scale=_halved(module.input_scale, made))
        elif module.weight.dtype != FP8_WEIGHT and DTYPES[module.weight.dtype].is_fp8:
            found, tensor = module.weight.dtype, module.weight
            message = "no loader takes this encoding, and none holds its values"
            refusals.append(Fault("encoding", message, tensor.shard, tensor.name, FP8_WEIGHT, found))
    if not modules and not refusals:
        return prepared
    reason = (
        f"{plural(relabelled, 'weight')} in e4m3fnuz keep their codes as e4m3fn, which are worth twice as much; "
        "scales of weights and inputs are halved. Scales of a KV cache stay as they are"
    )
    result = replace(checkpoint, modules={**checkpoint.modules, **modules})
    changes = Changes(reasons=(reason,) if relabelled else ())
    return prepared.then(result, made, (), changes, tuple(refusals))


def _relabelled(module: QuantizedModule, made: dict[TensorRef, OutputTensor]) -> QuantizedModule:
    reason = "e4m3fnuz as e4m3fn"
    weight = _add(computed(module.weight.name, "relabel", (module.weight,), {"dtype": FP8_WEIGHT}, reason), made)
    scales = (None if scale is None else _halved(scale, made) for scale in (module.weight_scale, module.input_scale))
    return QuantizedModule(module.name, module.scheme, weight, *scales)


def _halved(scale: TensorRef, made: dict[TensorRef, OutputTensor]) -> TensorRef:
    return _add(computed(scale.name, "times-two", (scale,), {"power": POWERS[FNUZ]}, "halved with the encoding"), made)


def _add(tensor: OutputTensor, made: dict[TensorRef, OutputTensor]) -> TensorRef:
    made[stand_in(tensor)] = tensor
    return stand_in(tensor)
