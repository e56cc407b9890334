"""CK311 input-scale-shape."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK311", "input-scale-shape", Severity.ERROR, unreported="the formats' own definition; found by comparing readers"
)
def input_scale_shape(context: Context) -> Iterator[Fault]:
    """A static input scale is not one value.

    Why it hurts: static activations have one scale for the whole tensor in every FP8 format here; loaders allocate
    one value.

    Example: ``input_scale`` [64] for a layer of 64 inputs.

    Fix: export again with per-tensor activations.
    """
    for module in context.modules:
        scale = module.input_scale
        if scale is not None and module.scheme.has_static_input and scale.numel != 1:
            yield Fault(
                "input-scale-shape",
                "a static input scale must be one value",
                scale.shard,
                scale.name,
                expected="[] or [1]",
                found=str(list(scale.shape)),
            )
