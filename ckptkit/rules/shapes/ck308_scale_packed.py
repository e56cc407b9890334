"""CK308 scale-packed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.rules.shapes.grids import PACKED_DTYPES


@rule(
    "CK308",
    "scale-packed",
    Severity.ERROR,
    reports=(
        "vllm-project/vime#133",
        "radixark/miles#1338",
    ),
)
def scale_packed(context: Context) -> Iterator[Fault]:
    """A scale is stored in a kernel's packed layout instead of as one number for each block.

    Why it hurts: exponents packed four to an integer, in the order of one GEMM backend, are read as numbers or
    rejected by every other backend.

    Example: ``weight_scale_inv`` I32 [7168, 14] as DeepGEMM packs it in memory.

    Fix: export from the unpacked weights again.
    """
    if context.checkpoint is not None:
        packed = context.checkpoint.scales_in(PACKED_DTYPES.__contains__)
    else:
        packed = (tensor for tensor in context.raw_scales.values() if tensor.dtype in PACKED_DTYPES)
    for tensor in packed:
        message = "an integer type: the layout of one backend's memory, not of a checkpoint"
        yield Fault("scale-packed", message, tensor.shard, tensor.name, "F32, BF16, F16 or F8_E8M0", tensor.dtype)
