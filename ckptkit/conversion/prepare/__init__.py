"""What changes in a checkpoint before a format writes it: values and forms that the user asked to have otherwise."""

from __future__ import annotations

from ckptkit.conversion.prepare import (
    arrange,
    dequantize,
    effects,
    encoding,
    give_up,
    kv_scales,
    microscaling,
    quantize,
    requantize,
    scale_form,
)
from ckptkit.conversion.prepare.prepared import Prepared
from ckptkit.conversion.request import ConversionRequest
from ckptkit.model.checkpoint import Checkpoint

#: In the order in which they are done. Each looks at the request, and at what is left to do.
_STEPS = (
    dequantize.step,
    give_up.heads,
    microscaling.step,
    arrange.step,
    quantize.step,
    requantize.step,
    encoding.step,
    scale_form.finer,
    scale_form.retyped,
    kv_scales.drop,
    kv_scales.borrow,
    give_up.roles,
)


def prepare(checkpoint: Checkpoint, request: ConversionRequest) -> Prepared:
    """The checkpoint as the target's writer is to see it.

    Raises UsageError for choices that make no sense for this checkpoint.
    """
    effects.require(checkpoint, request)
    prepared = Prepared(checkpoint)
    for step in _STEPS:
        prepared = step(prepared, request)
    return prepared
