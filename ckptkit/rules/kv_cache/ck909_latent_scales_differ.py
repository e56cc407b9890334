"""CK909 latent-scales-differ, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity, StoredTensor
from ckptkit.checks.registry import Level, fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import attention_modules
from ckptkit.rules.values.replacement import take_largest
from ckptkit.storage.payload import TensorRef


@rule("CK909", "latent-scales-differ", Severity.WARNING, level=Level.SCALES, reports=("vllm-project/vllm#37054",))
def latent_scales_differ(context: Context) -> Iterator[Fault]:
    """A model with latent attention stores a k scale that differs from its v scale.

    Why it hurts: keys and values are one latent vector there, which is stored once and has one scale. Engines that
    write it with one scale and read it with the other answer nonsense.

    Example: ``kv_lora_rank: 512``, ``k_scale`` 0.02 and ``v_scale`` 0.013.

    Fix: set both to the larger.
    """
    if context.dimensions.kv_lora_rank is None:
        return
    for attention in attention_modules(context):
        k, v = _value(context, attention.k), _value(context, attention.v)
        if attention.k is not None and k is not None and v is not None and k != v:
            message = "one latent vector, two scales"
            yield Fault(
                "latent-scales", message, attention.k.shard, attention.k.name, "one value", f"k {k:.4g}, v {v:.4g}"
            )


def _value(context: Context, tensor: TensorRef | None) -> float | None:
    read = context.scale_values.get(tensor.name) if tensor is not None else None
    return read[1].minimum if read is not None and read[1].size == 1 else None


@fix("unsafe", "CK909")
def share_latent_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Set the k and v scales of one latent vector to the larger."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    subject = finding.subject
    if cache is None or not isinstance(subject, StoredTensor):
        return
    for attention in cache.attention:
        if attention.k is not None and attention.v is not None and attention.k.name == subject.name:
            yield from take_largest(context, [attention.k, attention.v])
