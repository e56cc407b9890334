"""CK202 orphan-scale, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.checks.skip_lists import declared as declared_module
from ckptkit.checks.skip_lists import engines_that_build, undeclared_weights
from ckptkit.edits.changes import Drop, Edit
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.rules.config.skip_entries import nothing_is_quantized
from ckptkit.rules.naming.scale_names import stored_tensor
from ckptkit.storage.payload import TensorRef


@rule(
    "CK202",
    "orphan-scale",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#31757",
        "vllm-project/vllm#43892",
    ),
)
def orphan_scale(context: Context) -> Iterator[Fault]:
    """A scale is stored for a weight that is absent or not quantized.

    Why it hurts: vLLM stops because no parameter has that name. Readers that skip unknown names hide that the weight
    beside the scale is not what the exporter believed.

    Example: ``lm_head.weight_scale`` beside a BF16 ``lm_head.weight`` that the config excludes.

    Fix: drop the scale, or restore the weight that it belongs to. Where every weight was saved uncompressed beside its
    scale, CK602 says so.
    """
    if nothing_is_quantized(context):
        return
    stored = {weight.module for weight in undeclared_weights(context)}
    others = context.checkpoint.contradicted if context.checkpoint else {}
    for tensor in context.checkpoint.orphans if context.checkpoint else ():
        if tensor.module in others and tensor.module in stored:
            continue  # its weight is a finding of CK606
        declared = context.checkpoint is not None and tensor.module in context.checkpoint.declared_only
        variant = "beside-declared" if declared else _lonely(context, tensor)
        yield Observation(
            "orphan-scale",
            "the scale belongs to no quantized module",
            tensor.shard,
            tensor.name,
            expected="an FP8 weight beside it",
            found="none that the config declares quantized",
            help="drop the scale, or correct the config if the weight is meant to be quantized",
            variant=variant,
            only=engines_that_build(context, tensor.module, quantized=False) if tensor.module in stored else None,
            if_ones="of-ones" if variant is None else None,
        )


def _lonely(context: Context, tensor: TensorRef) -> str | None:
    """The variant of a scale whose weight is lost: engines build the layer that the config declares all the same."""
    lost = names.join(tensor.module, "weight") not in context.container.tensors
    return "weight-lost" if lost and declared_module(context)(tensor.module) else None


@fix("unsafe", "CK202")
def drop_orphan_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop a scale whose weight is stored in high precision.

    Beside an FP8 weight the scale is needed and the config is what is wrong; without its weight nobody knows. Whether
    the weight beside it has been multiplied by it nobody can tell either, and what was measured is gone for good.
    """
    scale = stored_tensor(context, finding)
    weight = context.container.tensors.get(names.join(scale.module, "weight")) if scale else None
    if scale is not None and weight is not None and not is_fp8(weight.dtype):
        yield Drop(scale.shard, scale.name)
