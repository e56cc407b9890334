"""CK510 codes-without-scales."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.checks.samples import hold_codes
from ckptkit.dtypes import HIGH_PRECISION
from ckptkit.errors import Fault, plural

_INSIDE = ".layers."


@rule(
    "CK510",
    "codes-without-scales",
    Severity.ERROR,
    level=Level.SCALES,
    samples=True,
    reports=(
        "wuwangzhang1216/abliterix#93",
        "Lightricks/LTX-2#172",
    ),
)
def codes_without_scales(context: Context) -> Iterator[Fault]:
    """Weights in high precision are FP8 codes that were cast, and no config says what they have to be multiplied with.

    Why it hurts: weights are hundreds to thousands of times too large. No engine says a word.

    Example: ``down_proj.weight`` in BF16 reaches 448, and every number of it is one of E4M3. A few numbers of a few
    weights tell; of a checkpoint on a Hub none is read.

    Fix: multiply with the scales before saving; where these are gone, export again.
    """
    container = context.container
    if context.located is not None or container.source.traits.remote:
        return
    weights = [
        tensor
        for tensor in container.tensors.values()
        if tensor.dtype in HIGH_PRECISION
        and len(tensor.shape) == 2
        and _INSIDE in tensor.name
        and tensor.name.endswith(".weight")
    ]
    if weights and hold_codes(container, weights):
        first, count = weights[0], plural(len(weights), "weight")
        message = f"numbers of E4M3 that reach towards 448, in most of {count} in {first.dtype}"
        yield Fault("codes-cast", message, first.shard, first.name, "weights multiplied with their scales", "codes")
