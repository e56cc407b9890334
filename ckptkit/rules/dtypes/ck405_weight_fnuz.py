"""CK405 weight-fnuz."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.rules.dtypes.stored_types import weight_faults


@rule(
    "CK405",
    "weight-fnuz",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#7210",
        "sgl-project/sglang#35111",
        "triton-lang/triton#10745",
    ),
)
def weight_fnuz(context: Context) -> Iterator[Fault]:
    """A weight is stored as e4m3fnuz.

    Why it hurts: the same byte means half the value there, and 0x80 is NaN instead of -0. Loaders cast by value, not
    by bits, so every engine but one on older ROCm hardware reads something else.

    Example: ``q_proj.weight`` F8_E4M3FNUZ, saved from the memory of an engine on MI300.

    Fix: export as e4m3fn. ``ckptkit convert``, into its own format too, keeps the codes and halves the scales.
    """
    yield from weight_faults(context, "F8_E4M3FNUZ", "F8_E5M2FNUZ")
