"""CK908 kv-scales-all-one."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.engines.cache_places import place_of
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import attention_modules


@rule("CK908", "kv-scales-all-one", Severity.INFO, level=Level.SCALES, reports=("NVIDIA/Model-Optimizer#20",))
def kv_scales_all_one(context: Context) -> Iterator[Fault]:
    """Every KV scale is exactly 1.0: nothing was calibrated. Or some are, of a tool that raises smaller ones to that.

    Why it hurts: engines behave as if no scales were stored, and the checkpoint looks calibrated. ModelOpt's older
    releases never write a smaller value, so there it is the normal case.

    Example: 64 scales of 1.0 in a model of 32 layers.

    Fix: calibrate, or drop the scales and the declaration.
    """
    read = [
        tensor
        for attention in attention_modules(context)
        for tensor in (attention.k, attention.v)
        if tensor is not None
    ]
    values = {tensor: context.scale_values[tensor.name][1] for tensor in read if tensor.name in context.scale_values}
    ones = [tensor for tensor, value in values.items() if value.minimum == value.maximum == 1.0]
    if not ones:
        return
    floor = context.dialect.kv_floor if context.dialect is not None else None
    if len(ones) == len(values):
        message, found = "all KV scales are exactly 1.0", f"{len(ones)} times 1.0"
    elif floor == 1.0:
        message, found = "KV scales are exactly 1.0, to which smaller ones are raised", f"{len(ones)} of {len(values)}"
    else:
        return
    variant = place_of(ones[0].name).name.lower() if len(ones) == len(values) else "some"
    yield Observation("kv-all-one", message, ones[0].shard, ones[0].name, "calibrated values", found, variant=variant)
