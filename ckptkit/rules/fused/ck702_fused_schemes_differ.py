"""CK702 fused-schemes-differ."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.rules.fused.parts import differing, experts_differing, uneven


@rule(
    "CK702",
    "fused-schemes-differ",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "NVIDIA/Model-Optimizer#1354",
        "vllm-project/vllm#22674",
    ),
)
def fused_schemes_differ(context: Context) -> Iterator[Fault]:
    """Modules that are loaded as one (q/k/v, gate/up, all experts of a layer) have different schemes.

    Why it hurts: vLLM applies the first part's scheme to all, or asserts.

    Example: q_proj per channel and k_proj per tensor, from two regular expressions that overlap by accident.

    Fix: quantize them with one scheme.
    """
    for group in uneven(context, other_attention=False):
        yield from differing(context, group)
    yield from experts_differing(context)
