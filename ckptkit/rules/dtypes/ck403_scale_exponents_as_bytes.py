"""CK403 scale-exponents-as-bytes."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import weight_scales
from ckptkit.rules.shapes.grids import is_whole_weight


@rule("CK403", "scale-exponents-as-bytes", Severity.ERROR, reports=("jundot/omlx#2159",))
def scale_exponents_as_bytes(context: Context) -> Iterator[Fault]:
    """Scales beside FP8 weights are stored as U8: biased exponents under a dtype that says plain numbers.

    Why it hurts: a reader that multiplies by the byte is off by many orders of magnitude. MXFP8 exports tag their
    E8M0 exponents so.

    Example: ``weight_scale`` U8 [4096, 128] beside a weight F8_E4M3 [4096, 4096].

    Fix: tag them F8_E8M0, or widen them to F32 powers of two.
    """
    tensors = tuple(weight_scales(context, "U8"))
    modules = context.modules if tensors else ()
    whole = {m.weight_scale.name for m in modules if m.weight_scale is not None and is_whole_weight(m)}
    for tensor in tensors:
        message = "bytes where numbers are expected: probably exponents of powers of two"
        variant = "whole-weight" if tensor.name in whole else None
        yield Observation("scale-bytes", message, tensor.shard, tensor.name, "F8_E8M0 or F32", "U8", variant=variant)
