"""CK314 second-scale-shape."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import Part
from ckptkit.rules.shapes.group_scales import grouped_modules

#: The parts that are one number for a weight, or for each expert of a stack.
_SINGLE = (Part.SECOND_SCALE, Part.INPUT_SCALE, Part.SECOND_INPUT_SCALE)


@rule(
    "CK314",
    "second-scale-shape",
    Severity.ERROR,
    unreported="the formats' own definition; found by comparing readers",
)
def second_scale_shape(context: Context) -> Iterator[Fault]:
    """The scale of an NVFP4 weight's scales, or of its inputs, is not one number.

    Why it hurts: loaders keep one number for each part of a layer and stop at more with an assertion.

    Example: ``weight_global_scale`` [64] for a weight of 64 rows.

    Fix: export again.
    """
    for module, weight, scheme, _ in grouped_modules(context):
        wanted = weight.shape[:-2]
        for part in _SINGLE if scheme.second is not None else ():
            scale = module.parts.get(part)
            if scale is not None and scale.shape not in (wanted, (*wanted, 1)):
                yield Fault(
                    "second-scale-shape",
                    f"the {part.value} of a module in {module.scheme.name} must be one number",
                    scale.shard,
                    scale.name,
                    expected=f"{list(wanted)} or {[*wanted, 1]}",
                    found=str(list(scale.shape)),
                )
