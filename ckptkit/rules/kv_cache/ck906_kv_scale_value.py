"""CK906 kv-scale-value."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import Level, rule
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import AttentionScales
from ckptkit.model.values import first_value
from ckptkit.rules.kv_cache.attention import attention_modules
from ckptkit.storage.payload import TensorRef


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

    Why it hurts: a scale of keys that is not positive stops vLLM with an assertion on one path and is used as it is on
    another, one of values is replaced by that of keys; infinity is accepted everywhere; SGLang takes what is not
    positive for 1.0.

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
                    variant=_variant(context, attention, tensor),
                )


def _variant(context: Context, attention: AttentionScales, tensor: TensorRef) -> str | None:
    """What engines tell apart: a scale of keys that no positive one can stand for, what is no number, and zero.

    Where both are negative an engine may take them for missing, and an infinite one for any other.
    """
    keys = _value(context, attention.k)
    alone = attention.v is None or attention.v == attention.k
    values = -1.0 if alone else _value(context, attention.v)
    if tensor == attention.k and not keys > 0 and not (keys < 0 and values < 0):
        return "key"
    return None if _value(context, tensor) == 0 else "invalid"


def _value(context: Context, tensor: TensorRef | None) -> float:
    """The first number of a scale; one that cannot be told counts as usable."""
    found = None if tensor is None else first_value(tensor.dtype, context.container.read(tensor))
    return 1.0 if found is None else found
