"""CK703 attention-projections-uneven."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.rules.fused.parts import differing, partly, uneven


@rule(
    "CK703",
    "attention-projections-uneven",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/vllm#41457",
        "vllm-project/llm-compressor#1988",
        "radixark/miles#2044",
    ),
)
def attention_projections_uneven(context: Context) -> Iterator[Fault]:
    """Projections of linear or latent attention that are loaded as one are not quantized alike.

    Why it hurts: linear attention (``in_proj_b`` and ``in_proj_a``, ``in_proj_qkv`` and ``in_proj_z``) and latent
    attention (``q_a_proj`` and ``kv_a_proj_with_mqa``) are merged too. Where the shapes fit, BF16 values land in an FP8
    parameter and only the answers show it.

    Example: ``in_proj_a`` in BF16 beside ``in_proj_b`` in FP8.

    Fix: quantize all members or none, and list all or none in the skip list.
    """
    for group in uneven(context, other_attention=True):
        yield from partly(context, group)
        yield from differing(context, group)
