"""Every scale of every quantized module, with its values."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.errors import Fault
from ckptkit.model.values import ScaleValues
from ckptkit.storage.payload import TensorRef


def odd_scales(context: Context) -> tuple[tuple[TensorRef, ScaleValues], ...]:
    """The weight and input scales that hold a value that no scale should have; two rules ask for them."""
    return context.remembered("odd_scales", lambda: tuple(_odd_scales(context)))


def _odd_scales(context: Context) -> Iterator[tuple[TensorRef, ScaleValues]]:
    """Those of attention modules have rules of their own."""
    odd = context.scale_values.where(lambda values: values.zeros or values.invalid)
    values = {found[0].name: found for found in odd}
    if not values:
        return
    for module in context.modules:
        for scale in (module.weight_scale, module.input_scale):
            if scale is not None and scale.name in values:
                yield values[scale.name]


def scale_fault(kind: str, what: str, tensor: TensorRef, values: ScaleValues, indices: tuple[int, ...]) -> Fault:
    """The fault that some values of a scale are what they must not be."""
    message = f"{len(indices)} of {values.size} scales are {what}, the first at index {indices[0]}"
    return Fault(kind, message, tensor.shard, tensor.name, expected="finite values above zero")
