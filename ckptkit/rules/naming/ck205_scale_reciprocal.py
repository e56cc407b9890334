"""CK205 scale-reciprocal."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.model.values import ScaleValues
from ckptkit.storage.payload import TensorRef

#: The largest magnitude of an E4M3 code.
E4M3_MAX = 448.0

#: A linear layer's largest weight lies far below the first and, where a scale is a reciprocal, its inverse does too.
_IMPLAUSIBLE, _PLAUSIBLE = 1e4, 1e2


@rule(
    "CK205",
    "scale-reciprocal",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "vllm-project/vllm#36297",
        "NVIDIA/TransformerEngine#123",
    ),
)
def scale_reciprocal(context: Context) -> Iterator[Fault]:
    """Weight scales look like reciprocals: as stored they make absurd weights, inverted they make ordinary ones.

    Why it hurts: every FP8 format stores the multiplier, ``weight_scale_inv`` included. A stored divisor is multiplied
    with all the same, and nothing is raised.

    Example: ``weight_scale`` 1121.0, where 1 / 1121 would give weights of at most 0.4.

    Fix: invert the scales, after comparing one layer with the source checkpoint.
    """
    if not any(_looks_inverted(values) for _, values in context.scale_values.where(_is_implausible)):
        return
    judged = list(_weight_scales(context))
    suspects = [(tensor, values) for tensor, values in judged if _looks_inverted(values)]
    if 2 * len(suspects) > len(judged):
        tensor, values = suspects[0]
        message = f"{len(suspects)} of {len(judged)} weight scales look inverted"
        found = f"{values.minimum:.6g}: weights up to {values.minimum * E4M3_MAX:.3g}"
        expected = f"about {1 / values.minimum:.3g}"
        yield Fault("scale-reciprocal", message, tensor.shard, tensor.name, expected, found)


def _is_implausible(values: ScaleValues) -> bool:
    """Whether some value makes absurd weights as it is."""
    return values.maximum * E4M3_MAX > _IMPLAUSIBLE


def _looks_inverted(values: ScaleValues) -> bool:
    """Whether values make absurd weights as they are, and ordinary ones inverted."""
    small = values.minimum * E4M3_MAX > _IMPLAUSIBLE and E4M3_MAX / values.minimum < _PLAUSIBLE
    return small and E4M3_MAX / values.maximum < _PLAUSIBLE


def _weight_scales(context: Context) -> Iterator[tuple[TensorRef, ScaleValues]]:
    """Weight scales whose values are all finite and positive."""
    for module in context.modules:
        read = context.scale_values.get(module.weight_scale.name) if module.weight_scale is not None else None
        if read is not None and read[1].size and not read[1].zeros and not read[1].invalid:
            yield read
