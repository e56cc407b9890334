"""CK803 rows-not-multiple-of-128."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault

_KERNEL_ROWS = 128


@rule(
    "CK803",
    "rows-not-multiple-of-128",
    Severity.INFO,
    reports=(
        "vllm-project/vllm#48586",
        "vllm-project/vllm#54367",
    ),
)
def rows_not_multiple_of_128(context: Context) -> Iterator[Fault]:
    """A block-quantized weight has a number of rows that is no multiple of 128.

    Why it hurts: the CUTLASS block kernels need one. Engines take a slower path, and some versions chose the kernel
    and then aborted.

    Example: ``kv_a_proj_with_mqa`` with 576 rows.

    Fix: nothing is wrong in the file; a per-channel scheme for that module runs faster.
    """
    for kind in context.blocked_kinds:
        if kind.shape[0] % _KERNEL_ROWS:
            message = f"no CUTLASS block kernel for {kind.shape[0]} rows"
            yield Fault("block-rows", message, None, kind.name, "a multiple of 128 rows", f"{kind.shape[0]} rows")
