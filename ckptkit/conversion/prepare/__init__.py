"""What changes in a checkpoint before a format writes it: values and forms that the user asked to have otherwise."""

from __future__ import annotations

from ckptkit.conversion.options import Options
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
from ckptkit.formats.base import Format
from ckptkit.model.checkpoint import Checkpoint

#: In the order in which they are done. Each looks at the options and at the target, and at what is left to do.
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


def prepare(checkpoint: Checkpoint, target: Format, options: Options) -> Prepared:
    """The checkpoint as the target's writer is to see it.

    Raises UsageError for options that make no sense for this checkpoint.
    """
    effects.require(checkpoint, target, options)
    prepared = Prepared(checkpoint)
    for step in _STEPS:
        prepared = step(prepared, target, options)
    return prepared
