"""CK5xx: the values of scales."""

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


@rule("CK205", "scale-reciprocal", Severity.WARNING, level=Level.SCALES)
def scale_reciprocal(context: Context) -> Iterator[Fault]:
    """Weight scales look like reciprocals: as stored they make absurd weights, inverted they make ordinary ones.

    Why it hurts: every FP8 format stores the multiplier, ``weight_scale_inv`` included. A stored divisor is multiplied
    with all the same, and nothing is raised.

    Example: ``weight_scale`` 1121.0, where 1 / 1121 would give weights of at most 0.4.

    Mend: invert the scales, after comparing one layer with the source checkpoint.
    """
    suspects: list[tuple[TensorRef, ScaleValues]] = []
    judged = 0
    for tensor, values in _weight_scales(context):
        judged += 1
        small = values.minimum * E4M3_MAX > _IMPLAUSIBLE and E4M3_MAX / values.minimum < _PLAUSIBLE
        if small and E4M3_MAX / values.maximum < _PLAUSIBLE:
            suspects.append((tensor, values))
    if suspects and 2 * len(suspects) > judged:
        tensor, values = suspects[0]
        message = f"{len(suspects)} of {judged} weight scales look inverted"
        found = f"{values.minimum:.6g}: weights up to {values.minimum * E4M3_MAX:.3g}"
        expected = f"about {1 / values.minimum:.3g}"
        yield Fault("scale-reciprocal", message, tensor.shard, tensor.name, expected, found)


@rule("CK501", "scale-zero", Severity.WARNING, level=Level.SCALES)
def scale_zero(context: Context) -> Iterator[Fault]:
    """A weight or input scale is exactly zero.

    Why it hurts: the weights under it become zero whatever their bytes say, and any path that divides by the scale
    makes infinities and then NaN tokens, for some prompts only.

    Example: one zero among the 128 scales of an expert that saw no calibration data.

    Mend: export again; where the weights under the scale are all zero, any tiny positive scale does.
    """
    for tensor, values in _module_scales(context):
        if values.zeros:
            yield _fault("scale-zero", "zero", tensor, values, values.zeros)


@rule("CK502", "scale-not-finite", Severity.ERROR, level=Level.SCALES)
def scale_not_finite(context: Context) -> Iterator[Fault]:
    """A weight or input scale is NaN, infinite or negative.

    Why it hurts: nothing is raised at load time; the layer's output is garbage.

    Example: ``down_proj.weight_scale`` with 3 NaN among 4096 values.

    Mend: export again.
    """
    for tensor, values in _module_scales(context):
        if values.invalid:
            yield _fault("scale-not-finite", "NaN, infinite or negative", tensor, values, values.invalid)


@rule("CK506", "expert-not-calibrated", Severity.WARNING, level=Level.SCALES, fix="unsafe")
def expert_not_calibrated(context: Context) -> Iterator[Fault]:
    """A routed expert's static input scale is exactly 1.0: no token reached it during calibration.

    Why it hurts: its activations are rounded to a grid that has nothing to do with them, or clipped.

    Example: ``experts.93.down_proj.input_scale`` 1.0 where its siblings have 0.02.

    Mend: calibrate with more tokens, or take the largest scale of the siblings.
    """
    found: list[TensorRef] = []
    for module in context.modules:
        scale = module.input_scale
        if scale is not None and ".experts." in module.name and module.scheme.has_static_input:
            read = context.scale_values.get(scale.name)
            if read is not None and read[1].minimum == read[1].maximum == 1.0:
                found.append(scale)
    if found:
        message = f"{len(found)} input scales of experts are exactly 1.0, the value before any calibration"
        yield Fault("expert-uncalibrated", message, found[0].shard, found[0].name, "a calibrated value", "1.0")


def _weight_scales(context: Context) -> Iterator[tuple[TensorRef, ScaleValues]]:
    """Weight scales whose values are all finite and positive."""
    for module in context.modules:
        read = context.scale_values.get(module.weight_scale.name) if module.weight_scale is not None else None
        if read is not None and read[1].count and not read[1].zeros and not read[1].invalid:
            yield read


def _module_scales(context: Context) -> Iterator[tuple[TensorRef, ScaleValues]]:
    """The weight and input scales; those of attention modules have rules of their own."""
    values = context.scale_values
    for module in context.modules:
        for scale in (module.weight_scale, module.input_scale):
            if scale is not None and scale.name in values:
                yield values[scale.name]


def _fault(kind: str, what: str, tensor: TensorRef, values: ScaleValues, indices: tuple[int, ...]) -> Fault:
    message = f"{len(indices)} of {values.count} scales are {what}, the first at index {indices[0]}"
    return Fault(kind, message, tensor.shard, tensor.name, expected="finite values above zero")
