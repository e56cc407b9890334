"""CK907 kv-scale-shape, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, Reshape
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerHead
from ckptkit.rules.kv_cache.attention import declared_attention
from ckptkit.storage.payload import TensorRef


@rule(
    "CK907",
    "kv-scale-shape",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#30141",
        "sgl-project/sglang#26436",
        "vllm-project/vllm#6761",
    ),
)
def kv_scale_shape(context: Context) -> Iterator[Fault]:
    """A KV scale is neither one value, nor one for each head where the config declares that.

    Why it hurts: loaders allocate one value, or [heads, 1, 1], and stop at anything else. The rank of a single value
    does not matter: [], [1] and [1, 1] all load.

    Example: ``k_scale`` [8, 1, 1] under the strategy ``tensor``.

    Fix: reshape [heads] to [heads, 1, 1] under ``attn_head``; declare that strategy if there is one scale for each
    head; else export again.
    """
    checkpoint = context.checkpoint
    scheme = checkpoint.kv_cache.scheme if checkpoint and checkpoint.kv_cache else None
    per_head = scheme is not None and isinstance(scheme.quantization.granularity, PerHead)
    for _, attention in declared_attention(context):
        for tensor in dict.fromkeys(attention.stored().values()):
            heads = context.dimensions.kv_heads
            other = per_head and heads is not None and tensor.numel != heads and not _wrong_head_shape(tensor)
            wrong = other or _wrong_head_shape(tensor) if per_head else tensor.numel != 1
            if wrong:
                expected = "[heads, 1, 1]" if per_head else "one value"
                message = "the KV scale has the wrong shape"
                yield Observation(
                    "kv-scale-shape",
                    message,
                    tensor.shard,
                    tensor.name,
                    expected,
                    str(list(tensor.shape)),
                    variant="other-number" if other else _variant(tensor, per_head=per_head),
                )


def _variant(tensor: TensorRef, *, per_head: bool) -> str | None:
    """What engines tell apart: one value, and one for each head, in another rank or undeclared."""
    if tensor.numel == 1:
        return "single"
    return "other-rank" if per_head else None if _wrong_head_shape(tensor) else "heads"


def _wrong_head_shape(tensor: TensorRef) -> bool:
    return len(tensor.shape) != 3 or tensor.shape[1:] != (1, 1)


@fix("safe", "CK907")
def reshape_kv_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scales of heads the rank that the format stores, where the config declares one for each head."""
    subject = finding.subject
    tensor = context.container.tensors.get(subject.name) if isinstance(subject, StoredTensor) else None
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    granularity = cache.scheme.quantization.granularity if cache and cache.scheme else None
    if tensor is None or context.format is None or not isinstance(granularity, PerHead):
        return
    wanted = context.format.scale_shapes(granularity, (tensor.numel,))[0]
    if wanted != tensor.shape and tensor.numel == context.dimensions.kv_heads:
        yield Reshape(tensor.shard, tensor.name, tensor.shape, wanted)
