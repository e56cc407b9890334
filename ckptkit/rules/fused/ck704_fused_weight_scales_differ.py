"""CK704 fused-weight-scales-differ."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.fused import FusedGroup
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.rules.fused.parts import differing_scalars, spread, weight_scalar


@rule(
    "CK704",
    "fused-weight-scales-differ",
    Severity.INFO,
    level=Level.SCALES,
    reports=(
        "vllm-project/vllm#4332",
        "vllm-project/vllm#5940",
        "vllm-project/vllm#12612",
    ),
)
def fused_weight_scales_differ(context: Context) -> Iterator[Fault]:
    """Per-tensor weight scales differ between modules that are loaded as one.

    Why it hurts: the fused layer has one scale, so engines requantize the parts to the largest while loading: a
    slower start and one more rounding.

    Example: q_proj 0.00084, k_proj 0.00098, v_proj 0.00091.

    Fix: requantize to the shared maximum once, offline, or quantize per channel.
    """
    kinds: dict[str, list[tuple[FusedGroup, str]]] = {}
    for group, values in differing_scalars(context, weight_scalar):
        kinds.setdefault(names.generalise(group.owner), []).append((group, spread(values)))
    for kind, groups in kinds.items():
        group, found = groups[0]
        message = f"{group.fused} has one scale and its parts have several, in {plural(len(groups), 'layer')}"
        yield Fault("fused-weight-scales", message, None, kind, "one value", found)
