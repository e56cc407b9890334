"""CK313 group-scale-grid."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import Part
from ckptkit.rules.shapes.group_scales import grouped_modules


@rule(
    "CK313",
    "group-scale-grid",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#53105",
        "vllm-project/vllm#50577",
    ),
)
def group_scale_grid(context: Context) -> Iterator[Fault]:
    """A scale of an NVFP4, MXFP4 or MXFP8 weight is not one number for each group of a row.

    Why it hurts: loaders allocate [N, K/16] for NVFP4 and [N, K/32] for the MX types, and stop at any other shape with
    an assertion. A kernel's own order of the scales, padded to its tiles, is no checkpoint's.

    Example: a packed weight [64, 128] U8, which is [64, 256] in FP4, with a ``weight_scale`` [64, 8]: groups of 32
    under a config that declares NVFP4.

    Fix: export again, or declare the type that is stored.
    """
    for module, weight, scheme, shape in grouped_modules(context):
        scale = module.parts.get(Part.SCALE)
        wanted = scheme.granularity.scale_shape(shape)
        if scale is not None and scale.shape != wanted:
            what = f"the {scheme.granularity} scale of a weight {list(weight.shape)} in {module.scheme.name}"
            yield Observation(
                "group-scale-grid",
                f"{what} has the wrong shape",
                scale.shard,
                scale.name,
                expected=str(list(wanted)),
                found=str(list(scale.shape)),
                variant="exponents" if scale.dtype in ("U8", "F8_E8M0") else None,
            )
