"""CK407 one-byte-weight-not-fp8."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import ONE_BYTE
from ckptkit.storage.payload import TensorRef


@rule(
    "CK407",
    "one-byte-weight-not-fp8",
    Severity.ERROR,
    reports=(
        "radixark/miles#2044",
        "radixark/miles#1641",
    ),
)
def one_byte_weight_not_fp8(context: Context) -> Iterator[Fault]:
    """A module that the config declares FP8 is stored in another type of one byte or less.

    Why it hurts: a tool that goes by element size takes it for FP8; engines cast the numbers by value. INT8 codes and
    packed FP4 both look like this.

    Example: an expert's ``weight`` I8 [2048, 3584] under a config that declares FP8 for every linear layer.

    Fix: declare what is stored, module by module.
    """
    checkpoint = context.checkpoint
    for name in checkpoint.declared_only if checkpoint is not None else ():
        weight = checkpoint.unquantized[name] if checkpoint is not None else None
        if weight is not None and weight.dtype in ONE_BYTE:
            message = "the config declares FP8, and another one-byte type is stored"
            fault = Fault("one-byte-weight", message, weight.shard, weight.name, FP8_WEIGHT, weight.dtype)
            yield Observation.of(fault, variant="packed" if _is_packed(context, name, weight) else None)


def _is_packed(context: Context, module: str, weight: TensorRef) -> bool:
    """Whether a weight holds two codes in a byte, as those of NVFP4 do: their scales are codes of FP8."""
    scale = context.container.tensors.get(f"{module}.weight_scale")
    return weight.dtype == "U8" and scale is not None and scale.dtype == FP8_WEIGHT
