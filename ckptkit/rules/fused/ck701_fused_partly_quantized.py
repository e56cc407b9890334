"""CK701 fused-partly-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.rules.fused.parts import experts_partly, partly, uneven


@rule(
    "CK701",
    "fused-partly-quantized",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/vllm#25378",
        "vllm-project/vllm#11354",
        "vllm-project/vllm#47473",
    ),
)
def fused_partly_quantized(context: Context) -> Iterator[Fault]:
    """Of the modules that are loaded as one (q/k/v, gate/up, all experts of a layer), only some are quantized.

    Why it hurts: vLLM stops because one layer has one scheme; where the config calls all parts quantized, it builds the
    layer so, and casts the others by value. A part that the model does not have does not count:
    some layers share their values and store no v_proj. Of experts it takes the first one's scheme for all: scales of
    others find no place, or stay unset.

    Example: q_proj in FP8, k_proj and v_proj in BF16; ``mlp.experts.0`` in FP8 and ``mlp.experts.1`` in BF16.

    Fix: quantize all of them or none.
    """
    for group in uneven(context, other_attention=False):
        yield from partly(context, group)
    yield from experts_partly(context)
