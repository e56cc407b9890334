"""CK306 scale-granularity."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.rules.shapes.grids import is_one_block, mismatches, same_values, shape_fault

_LAYER = re.compile(r".*?\blayers\.\d+\.")
#: One value for a weight where others have what is declared, and where none has, or none of its layer.
ONE, THROUGHOUT = "one-value", "one-value-throughout"


@rule(
    "CK306",
    "scale-granularity",
    Severity.ERROR,
    reports=(
        "NVIDIA/Model-Optimizer#1962",
        "ml-explore/mlx-lm#1075",
        "vllm-project/vllm#16474",
    ),
)
def scale_granularity(context: Context) -> Iterator[Fault]:
    """A weight scale has another granularity than the config declares.

    Why it hurts: loaders allocate what the config declares and stop at anything else, or broadcast it silently.

    Example: one value for the whole weight where one for each row is declared.

    Fix: correct the strategy in the config if the tensors are right, else export again.
    """

    @cache
    def undeclared() -> bool:
        """Whether no module has the granularity that is declared: then the declaration may be what is wrong."""
        kinds = context.checkpoint.alike if context.checkpoint is not None else ()
        stored = sum(len(kind.modules) for kind in kinds if kind.first.weight_scale is not None)
        return len(mismatches(context)) == stored

    @cache
    def otherwise() -> frozenset[str]:
        """The layers of which some module has not one value: where all have, the declaration may be wrong of these."""
        several = (m for m in context.modules if m.weight_scale is None or math.prod(m.weight_scale.shape) != 1)
        return frozenset(_layer(module.name) for module in several)

    for module, scale, wanted in mismatches(context):
        granularity = module.scheme.weight.granularity
        if isinstance(granularity, (PerBlock, PerGroup)):
            wrong = len(scale.shape) == 0 and not is_one_block(module, scale)
        else:
            wrong = not same_values(scale.shape, granularity.scale_shape(module.weight.shape))
        if wrong:
            fault = shape_fault("scale-granularity", module, scale, wanted)
            variant = _broadcast(scale.shape, module.weight.shape)
            if variant == ONE and (undeclared() or _layer(module.name) not in otherwise()):
                variant = THROUGHOUT
            yield Observation.of(fault, variant=variant)


def _layer(module: str) -> str:
    """The decoder layer that a module is of; nothing for one beside all layers."""
    found = _LAYER.match(module)
    return found[0] if found else ""


def _broadcast(scale: tuple[int, ...], weight: tuple[int, ...]) -> str | None:
    """How arithmetic that does not look at the declaration would apply a scale to its weight; None where it cannot."""
    if math.prod(scale) == 1:
        return ONE
    if len(weight) != 2:
        return None
    return "by-row" if scale == (weight[0], 1) else "by-column" if scale == (1, weight[1]) else None
