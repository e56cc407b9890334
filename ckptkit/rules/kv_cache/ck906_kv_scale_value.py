"""CK906 kv-scale-value."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import attention_modules


@rule(
    "CK906",
    "kv-scale-value",
    Severity.ERROR,
    level=Level.SCALES,
    reports=(
        "sgl-project/sglang#39942",
        "vllm-project/vllm#46265",
        "onnxruntime/mobius#447",
    ),
)
def kv_scale_value(context: Context) -> Iterator[Fault]:
    """A KV or attention scale is zero, negative, NaN or infinite.

    Why it hurts: zero or NaN stops vLLM with an assertion on one path and is used as it is on another; infinity is
    accepted everywhere; SGLang takes what is not positive for 1.0.

    Example: ``self_attn.v_scale`` 0.0 in a layer that no token reached.

    Fix: calibrate and export again.
    """
    for attention in attention_modules(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            if tensor.name not in context.scale_values:
                continue
            _, values = context.scale_values[tensor.name]
            if values.zeros or values.invalid:
                what = "zero" if values.zeros else "negative, infinite or NaN"
                yield Observation(
                    "kv-scale-value",
                    f"the scale is {what}",
                    tensor.shard,
                    tensor.name,
                    expected="a finite value above zero",
                    variant=None if values.zeros else "invalid",
                )
