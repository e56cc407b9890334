"""Modules whose elements share scales by groups of a row (NVFP4, MXFP4, MXFP8), and what their scheme says."""

from __future__ import annotations

from typing import NamedTuple

from ckptkit.checks.context import Context
from ckptkit.model.checkpoint import OpaqueModule
from ckptkit.model.granularity import PerGroup
from ckptkit.model.scheme import Quantization
from ckptkit.storage.payload import TensorRef

#: Elements that one stored element of a weight holds, where it is packed: two of four bits in a byte.
_PACKED = {("U8", "F4"): 2, ("I8", "F4"): 2}


class Grouped(NamedTuple):
    """A module in groups, its weight and scheme, and the weight's shape with one element for each number."""

    module: OpaqueModule
    weight: TensorRef
    scheme: Quantization
    shape: tuple[int, ...]


def grouped_modules(context: Context) -> tuple[Grouped, ...]:
    """Every module of which the scheme and the packing are known; three rules ask for them."""
    return context.remembered("grouped", lambda: _grouped(context))


def _grouped(context: Context) -> tuple[Grouped, ...]:
    found = []
    for module in context.checkpoint.opaque.values() if context.checkpoint is not None else ():
        weight, scheme = module.weight, module.scheme.weight
        if weight is None or scheme is None or not isinstance(scheme.granularity, PerGroup) or len(weight.shape) < 2:
            continue
        factor = 1 if weight.dtype == scheme.dtype else _PACKED.get((weight.dtype, scheme.dtype))
        shape = (*weight.shape[:-1], weight.shape[-1] * (factor or 1))
        # How a last group that is not full is stored, each tool decides for itself.
        if factor is not None and shape[-1] % scheme.granularity.size == 0:
            found.append(Grouped(module, weight, scheme, shape))
    return tuple(found)
