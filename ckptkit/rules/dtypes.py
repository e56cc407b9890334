"""CK4xx: element types of weights and scales."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.dtypes import FP8_WEIGHT, SCALE_DTYPES
from ckptkit.errors import Fault
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import rule


@rule("CK405", "weight-fnuz", Severity.ERROR)
def weight_fnuz(context: Context) -> Iterator[Fault]:
    """A weight is stored as e4m3fnuz.

    The same byte means half the value there, and 0x80 is NaN instead of -0. Loaders cast by value, not by bits,
    so every engine but one on older ROCm hardware reads something else.

    Mend: export as e4m3fn.
    """
    yield from _weight_faults(context, "FNUZ", "weight-fnuz")


@rule("CK406", "weight-e5m2", Severity.ERROR)
def weight_e5m2(context: Context) -> Iterator[Fault]:
    """A weight is stored as e5m2.

    No FP8 linear layer takes it: loaders cast it to e4m3fn by value, silently on fused layers.

    Mend: quantize again to e4m3fn.
    """
    yield from _weight_faults(context, "F8_E5M2", "weight-e5m2", exact=True)


@rule("CK410", "scale-dtype", Severity.ERROR)
def scale_dtype(context: Context) -> Iterator[Fault]:
    """A scale is stored in a type that holds no scales.

    Scales are F32, BF16 or F16, or E8M0 for powers of two. Integers or FP8 E4M3 in their place are another
    format's packing.

    Mend: export again.
    """
    for tensor in context.checkpoint.scale_tensors() if context.checkpoint else ():
        if tensor.dtype not in SCALE_DTYPES:
            wanted = ", ".join(sorted(SCALE_DTYPES))
            yield Fault("scale-dtype", "not a scale's dtype", tensor.shard, tensor.name, wanted, tensor.dtype)


def _weight_faults(context: Context, code: str, kind: str, *, exact: bool = False) -> Iterator[Fault]:
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        dtype = module.weight.dtype
        if dtype == code if exact else code in dtype:
            yield Fault(
                kind,
                "engines cast this weight by value instead of reading its bits",
                module.weight.shard,
                module.weight.name,
                expected=FP8_WEIGHT,
                found=dtype,
            )
