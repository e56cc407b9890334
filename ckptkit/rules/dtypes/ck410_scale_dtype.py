"""CK410 scale-dtype."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.dtypes import SCALE_DTYPES
from ckptkit.engines.parallel import is_split_alone
from ckptkit.errors import Fault
from ckptkit.rules.shapes.grids import PACKED_DTYPES


@rule("CK410", "scale-dtype", Severity.ERROR, unreported="the formats' own definition; found by comparing readers")
def scale_dtype(context: Context) -> Iterator[Fault]:
    """A scale is stored in a type that holds no scales.

    Why it hurts: scales are F32, BF16 or F16, or E8M0 for powers of two. Small integers, doubles or FP8 E4M3 in
    their place are another format's two-level packing, or an accident.

    Example: ``weight_scale`` F8_E4M3, the inner scale of an FP4 format.

    Fix: export again.
    """
    known = {*SCALE_DTYPES, *PACKED_DTYPES, "U8"}
    wanted = ", ".join(sorted(SCALE_DTYPES))
    checkpoint = context.checkpoint
    for tensor in checkpoint.scales_in(lambda dtype: dtype not in known) if checkpoint else ():
        fault = Fault("scale-dtype", "not a scale's dtype", tensor.shard, tensor.name, wanted, tensor.dtype)
        variant = "double" if tensor.dtype == "F64" else None
        if variant and checkpoint and prod(tensor.shape) > 1 and is_split_alone(checkpoint, tensor.module):
            variant += "/split-alone"
        yield Observation.of(fault, variant=variant)
