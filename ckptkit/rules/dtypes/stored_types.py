"""Element types as they are stored, beside those that were declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.errors import Fault
from ckptkit.storage.payload import TensorRef

#: One-byte or half-byte types that are no 8-bit float, whatever their size suggests.
ONE_BYTE = frozenset({"I8", "U8", "BOOL", "F4", "F6_E2M3", "F6_E3M2"})


def declares_e8m0(context: Context) -> bool:
    """Whether the config says that scales are powers of two."""
    if "e8m0" in str(context.block.get("scale_fmt") or "").lower():
        return True
    specs: list[Any] = [context.block.get("global_quant_config")]
    layers = context.block.get("layer_quant_config")
    specs += layers.values() if isinstance(layers, Mapping) else []
    weights = [spec.get("weight") for spec in specs if isinstance(spec, Mapping)]
    flat = [one for weight in weights for one in (weight if isinstance(weight, list) else [weight])]
    return any("e8m0" in str(w.get("scale_type")) for w in flat if isinstance(w, Mapping))


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
