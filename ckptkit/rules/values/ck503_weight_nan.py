"""CK503 weight-nan."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault


@rule(
    "CK503",
    "weight-nan",
    Severity.ERROR,
    level=Level.FULL,
    reports=(
        "NVIDIA/Model-Optimizer#1633",
        "NVIDIA/Model-Optimizer#1397",
        "vllm-project/vllm-omni#4025",
        "huggingface/transformers#42775",
    ),
)
def weight_nan(context: Context) -> Iterator[Fault]:
    """A weight holds NaN codes (0x7F or 0xFF).

    Why it hurts: one of them makes a whole row of outputs NaN. They come from casts that do not clamp to 448 first;
    some decoders read them as 480 and hide it.

    Example: 3 NaN codes in ``experts.17.down_proj.weight``.

    Fix: clamp them to 448, which is what the cast should have done, or export again.
    """
    for scan in context.weight_scans.values():
        if scan.nans:
            message = f"{scan.nans} of {scan.elements} codes are NaN"
            yield Fault("weight-nan", message, scan.tensor.shard, scan.tensor.name, "no 0x7F or 0xFF", f"{scan.nans}")
