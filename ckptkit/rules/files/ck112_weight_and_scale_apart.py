"""CK112 weight-and-scale-apart, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, Move
from ckptkit.errors import Fault
from ckptkit.model import names


@rule(
    "CK112",
    "weight-and-scale-apart",
    Severity.INFO,
    reports=(
        "deepseek-ai/DeepSeek-V3#2",
        "vllm-project/compressed-tensors#641",
        "NVIDIA/cosmos-framework#157",
    ),
)
def weight_and_scale_apart(context: Context) -> Iterator[Fault]:
    """A weight and its scale are stored in different shards.

    Why it hurts: engines do not mind, but tools that go shard by shard (casts, dequantizers, streaming converters)
    fail on the pair or leave the weight unscaled.

    Example: ``model.layers.9.mlp.down_proj.weight`` in shard 1 and its ``weight_scale`` in shard 2.

    Fix: write the shards again with both in one; nothing needs to be recomputed.
    """
    if len(context.container.headers) < 2:
        return
    for module in context.modules:
        for scale in (module.weight_scale, module.input_scale):
            if scale is not None and scale.shard != module.weight.shard:
                yield Fault(
                    "weight-and-scale-apart",
                    "the scale is not in the shard of its weight",
                    scale.shard,
                    scale.name,
                    expected=f"in {module.weight.shard}",
                    found=f"in {scale.shard}",
                )


@fix("unsafe", "CK112")
def move_scale_to_weight(context: Context, finding: Finding) -> Iterator[Edit]:
    """Move the scale into its weight's shard. Two shards are written again for a few bytes: not done unasked."""
    subject = finding.subject
    scale = context.container.tensors.get(subject.name) if isinstance(subject, StoredTensor) else None
    weight = context.container.tensors.get(names.join(scale.module, "weight")) if scale else None
    if scale is not None and weight is not None:
        yield Move(scale.shard, scale.name, weight.shard)
