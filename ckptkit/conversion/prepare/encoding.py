"""Weights in e4m3fnuz, which loaders of every format misread, as e4m3fn: the same codes, and scales half as large."""

from __future__ import annotations

from dataclasses import replace

from ckptkit.conversion.options import Options
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.dtypes import DTYPES, FP8_WEIGHT
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import Changes, Format
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.operations.outputs import computed
from ckptkit.operations.scaling import FNUZ, POWERS
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef


def step(prepared: Prepared, target: Format, options: Options) -> Prepared:
    """Relabel every weight in e4m3fnuz; a weight of another encoding than e4m3fn is refused."""
    checkpoint = prepared.checkpoint
    made: dict[TensorRef, OutputTensor] = {}
    modules: dict[str, QuantizedModule] = {}
    refusals: list[Fault] = []
    for name, module in checkpoint.modules.items():
        if module.weight.dtype == FNUZ:
            module = _relabelled(module, made)
            modules[name] = module
        elif module.weight.dtype != FP8_WEIGHT and DTYPES[module.weight.dtype].is_fp8:
            found, tensor = module.weight.dtype, module.weight
            message = "no loader takes this encoding, and none holds its values"
            refusals.append(Fault("encoding", message, tensor.shard, tensor.name, FP8_WEIGHT, found))
    if not modules and not refusals:
        return prepared
    reason = (
        f"{plural(len(modules), 'weight')} in e4m3fnuz keep their codes as e4m3fn, which are worth twice as much; "
        "scales of weights and inputs are halved. Scales of a KV cache stay as they are"
    )
    result = replace(checkpoint, modules={**checkpoint.modules, **modules})
    changes = Changes(reasons=(reason,) if modules else ())
    return prepared.then(result, made, (), changes, tuple(refusals))


def _relabelled(module: QuantizedModule, made: dict[TensorRef, OutputTensor]) -> QuantizedModule:
    def add(tensor: OutputTensor) -> TensorRef:
        made[stand_in(tensor)] = tensor
        return stand_in(tensor)

    def halved(scale: TensorRef | None) -> TensorRef | None:
        if scale is None:
            return None
        return add(computed(scale.name, "times-two", (scale,), {"power": POWERS[FNUZ]}, "halved with the encoding"))

    weight = add(computed(module.weight.name, "relabel", (module.weight,), {"dtype": FP8_WEIGHT}, "e4m3fnuz as e4m3fn"))
    return module._replace(
        weight=weight, weight_scale=halved(module.weight_scale), input_scale=halved(module.input_scale)
    )
