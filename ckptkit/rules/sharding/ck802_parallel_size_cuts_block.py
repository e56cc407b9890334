"""CK802 parallel-size-cuts-block."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.parallel import block_obstacles
from ckptkit.errors import Fault

#: Sizes that CK802 tries; ``validate --matrix --tp`` judges any.
SIZES = (2, 4, 8, 16)


@rule(
    "CK802",
    "parallel-size-cuts-block",
    Severity.INFO,
    reports=(
        "vllm-project/vllm#54178",
        "vllm-project/vllm#52997",
        "sgl-project/sglang#3345",
        "ROCm/ATOM#1488",
        "vllm-project/vllm#39046",
    ),
)
def parallel_size_cuts_block(context: Context) -> Iterator[Fault]:
    """Some tensor-parallel sizes would cut a block of scales.

    Why it hurts: engines stop when rows or columns for each device are no whole number of blocks. Experts with small
    intermediate sizes are the usual victims.

    Example: experts of 768 rows in blocks of 128: 2 devices work (384), 4 do not (192).

    Fix: serve with a smaller size or with expert parallelism, or quantize these modules per channel.
    """
    kinds = context.blocked_kinds
    if not kinds:
        return
    failing = {size: next(block_obstacles(kinds, context.dimensions, size), None) for size in SIZES}
    bad = [size for size, obstacle in failing.items() if obstacle is not None]
    if bad:
        message = "tensor-parallel sizes at which a block would be cut"
        sizes = ", ".join(map(str, bad))
        yield Fault("parallel-block", message, "config.json", None, None, f"{sizes} (first: {failing[bad[0]]})")
