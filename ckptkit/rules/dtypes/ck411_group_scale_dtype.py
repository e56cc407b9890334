"""CK411 group-scale-dtype."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import Part
from ckptkit.rules.shapes.group_scales import grouped_modules

#: A declared type of scales -> the types that hold the same bytes.
_SAME_BYTES = {"F8_E8M0": ("U8", "F8_E8M0"), "U8": ("U8", "F8_E8M0")}


@rule("CK411", "group-scale-dtype", Severity.ERROR, reports=("sgl-project/sglang#26701", "jundot/omlx#2159"))
def group_scale_dtype(context: Context) -> Iterator[Fault]:
    """The scales of an NVFP4, MXFP4 or MXFP8 weight are stored in another type than the kernels read.

    Why it hurts: NVFP4 has scales in F8_E4M3 and the MX types exponents of 8 bits (F8_E8M0, or the same bytes as U8).
    Loaders convert anything else by value into a buffer of that type: exponents come out as numbers and numbers are
    rounded or cut off, with no word about it.

    Example: ``weight_scale`` BF16 [64, 8] beside a weight in MXFP4.

    Fix: export again.
    """
    for module, _, scheme, _ in grouped_modules(context):
        scale, declared = module.parts.get(Part.SCALE), scheme.scale_dtype
        if scale is None or declared is None:
            continue
        wanted = _SAME_BYTES.get(declared, (declared,))
        if scale.dtype not in wanted:
            message = f"the scales of a module in {module.scheme.name} are not of its type"
            yield Fault("group-scale-dtype", message, scale.shard, scale.name, " or ".join(wanted), scale.dtype)
