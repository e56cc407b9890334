"""Element types as they are stored, beside those that were declared."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of
from ckptkit.checks.context import Context
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.errors import Fault
from ckptkit.formats.keys import values_at
from ckptkit.storage.payload import TensorRef

#: One-byte or half-byte types that are no 8-bit float, whatever their size suggests.
ONE_BYTE = frozenset({"I8", "U8", "BOOL", "F4", "F6_E2M3", "F6_E3M2"})


def declares_e8m0(context: Context) -> bool:
    """Whether the config says that scales are powers of two."""
    ways = keys_of(context).exponents
    return any("e8m0" in str(value).lower() for way in ways for value in values_at(context.block, way))


def weight_scales(context: Context, dtype: str) -> Iterator[TensorRef]:
    """The weight scales of a dtype, by the format's reader or, where there is none, by their names."""
    if dtype not in context.dtypes:
        return
    own = (module.weight_scale for module in context.modules)
    for scale in own if context.checkpoint is not None else context.raw_scales.values():
        if scale is not None and scale.dtype == dtype:
            yield scale


def weight_faults(context: Context, *dtypes: str) -> Iterator[Fault]:
    """A fault for each FP8 weight of one of these types."""
    if context.dtypes.isdisjoint(dtypes):
        return
    for tensor in context.fp8_weights.values():
        if tensor.dtype in dtypes:
            yield Fault(
                "weight-dtype",
                "engines cast this weight by value instead of reading its bits",
                tensor.shard,
                tensor.name,
                expected=FP8_WEIGHT,
                found=tensor.dtype,
            )
