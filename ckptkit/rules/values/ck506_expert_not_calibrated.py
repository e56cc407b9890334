"""CK506 expert-not-calibrated, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import Level, fix, rule
from ckptkit.edits.changes import Edit, TakeValue
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.values.replacement import value
from ckptkit.storage.payload import TensorRef


@rule(
    "CK506",
    "expert-not-calibrated",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "intel/auto-round#1390",
        "NVIDIA/Model-Optimizer#1410",
    ),
)
def expert_not_calibrated(context: Context) -> Iterator[Fault]:
    """A routed expert's static input scale is exactly 1.0: no token reached it during calibration.

    Why it hurts: its activations are rounded to a grid that has nothing to do with them, or clipped.

    Example: ``experts.93.down_proj.input_scale`` 1.0 where its siblings have 0.02.

    Fix: calibrate with more tokens, or take the largest scale of the siblings.
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


@fix("unsafe", "CK506")
def borrow_from_siblings(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give an expert that saw no token the largest scale of its siblings: nothing clips, some precision goes."""
    siblings: dict[str, list[TensorRef]] = {}
    for module in context.modules:
        if module.input_scale is not None and ".experts." in module.name:
            siblings.setdefault(names.EXPERT.sub(".experts.*.", module.name), []).append(module.input_scale)
    for scales in siblings.values():
        calibrated = [scale for scale in scales if value(context, scale) != 1.0]
        if calibrated and len(calibrated) < len(scales):
            donor = max(calibrated, key=lambda scale: value(context, scale) or 0.0)
            yield from (TakeValue(s.shard, s.name, donor.name) for s in scales if value(context, s) == 1.0)
