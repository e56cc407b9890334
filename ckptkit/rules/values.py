"""CK5xx: the values of scales."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.model.values import ScaleValues
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import Level, rule
from ckptkit.storage.payload import TensorRef


@rule("CK501", "scale-zero", Severity.WARNING, level=Level.SCALES)
def scale_zero(context: Context) -> Iterator[Fault]:
    """A weight or input scale is exactly zero.

    The weights under it become zero whatever their bytes say, and any path that divides by the scale makes
    infinities and then NaN tokens, for some prompts only.

    Mend: export again; where the weights under the scale are all zero, any tiny positive scale does.
    """
    for tensor, values in _module_scales(context):
        if values.zeros:
            yield _fault("scale-zero", "zero", tensor, values, values.zeros)


@rule("CK502", "scale-not-finite", Severity.ERROR, level=Level.SCALES)
def scale_not_finite(context: Context) -> Iterator[Fault]:
    """A weight or input scale is NaN, infinite or negative.

    Nothing is raised at load time; the layer's output is garbage.

    Mend: export again.
    """
    for tensor, values in _module_scales(context):
        if values.invalid:
            yield _fault("scale-not-finite", "NaN, infinite or negative", tensor, values, values.invalid)


def _module_scales(context: Context) -> Iterator[tuple[TensorRef, ScaleValues]]:
    """The weight and input scales; those of attention modules have rules of their own."""
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        for scale in (module.weight_scale, module.input_scale):
            if scale is not None and scale.name in context.scale_values:
                yield context.scale_values[scale.name]


def _fault(kind: str, what: str, tensor: TensorRef, values: ScaleValues, indices: tuple[int, ...]) -> Fault:
    message = f"{len(indices)} of {values.count} scales are {what}, the first at index {indices[0]}"
    return Fault(kind, message, tensor.shard, tensor.name, expected="finite values above zero")
