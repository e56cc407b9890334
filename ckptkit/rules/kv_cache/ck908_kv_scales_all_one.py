"""CK908 kv-scales-all-one."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import attention_modules


@rule("CK908", "kv-scales-all-one", Severity.INFO, level=Level.SCALES, reports=("NVIDIA/Model-Optimizer#20",))
def kv_scales_all_one(context: Context) -> Iterator[Fault]:
    """Every KV scale is exactly 1.0: nothing was calibrated.

    Why it hurts: engines behave as if no scales were stored, and the checkpoint looks calibrated. ModelOpt never
    writes a smaller value, so there it is the normal case.

    Example: 64 scales of 1.0 in a model of 32 layers.

    Fix: calibrate, or drop the scales and the declaration.
    """
    read = [
        tensor
        for attention in attention_modules(context)
        for tensor in (attention.k, attention.v)
        if tensor is not None
    ]
    values = [context.scale_values[tensor.name][1] for tensor in read if tensor.name in context.scale_values]
    if values and all(value.minimum == value.maximum == 1.0 for value in values):
        message = "all KV scales are exactly 1.0"
        yield Fault("kv-all-one", message, read[0].shard, read[0].name, "calibrated values", f"{len(values)} times 1.0")
