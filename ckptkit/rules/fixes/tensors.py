"""Fixes of scales: names, shapes, and scales that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Drop, Edit, Rename, Reshape
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity
from ckptkit.storage.payload import TensorRef

#: Spellings of other formats and raw dumps -> what every format here calls that scale.
_SPELLINGS = {
    "weight_scale_inv": "weight_scale",
    "weight_quantizer.scale": "weight_scale",
    "scale_weight": "weight_scale",
    "input_quantizer.scale": "input_scale",
    "act_scale": "input_scale",
    "activation_scale": "input_scale",
    "scale_input": "input_scale",
}


@fix("safe", "CK202")
def drop_orphan_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop a scale whose weight is stored in high precision.

    Beside an FP8 weight the scale is needed and the config is what is wrong; without its weight nobody knows.
    """
    scale = _tensor(context, finding)
    weight = context.container.tensors.get(names.join(scale.module, "weight")) if scale else None
    if scale is not None and weight is not None and not is_fp8(weight.dtype):
        yield Drop(scale.shard, scale.name)


@fix("safe", "CK203", "CK204")
def rename_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that the dialect's loaders know: all these names mean the multiplier."""
    scale = _tensor(context, finding)
    if scale is not None and finding.expected and finding.expected != scale.name:
        yield Rename(scale.shard, scale.name, finding.expected)


@fix("unsafe", "CK208")
def rename_foreign_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Take another tool's scale for what its name suggests, where an FP8 weight has none; drop what cannot be one."""
    tensor = _tensor(context, finding)
    if tensor is None:
        return
    for ending, wanted in _SPELLINGS.items():
        module = tensor.name.removesuffix(f".{ending}")
        weight = context.container.tensors.get(names.join(module, "weight"))
        if module == tensor.name or weight is None or not is_fp8(weight.dtype):
            continue
        if names.join(module, wanted) not in context.container.tensors:
            yield Rename(tensor.shard, tensor.name, names.join(module, wanted))
            return
    if tensor.name.endswith(("_amax", "zero_point", "zero_scale")):
        yield Drop(tensor.shard, tensor.name)


@fix("safe", "CK301", "CK302", "CK305")
def reshape_weight_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the rank that the format stores; its values and their order stay."""
    module = _owner(context, finding)
    if module is not None and module.weight_scale is not None:
        yield from _reshaped(context, module.weight_scale, module.scheme.weight.granularity, module.weight.shape)


@fix("safe", "CK622")
def drop_input_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop an input scale that nothing reads because activations are scaled at run time."""
    scale = _tensor(context, finding)
    if scale is not None:
        yield Drop(scale.shard, scale.name)


def _reshaped(
    context: Context, scale: TensorRef, granularity: Granularity, weight_shape: tuple[int, ...]
) -> Iterator[Edit]:
    if context.format is not None:
        wanted = context.format.scale_shapes(granularity, weight_shape)[0]
        if wanted != scale.shape:
            yield Reshape(scale.shard, scale.name, scale.shape, wanted)


def _tensor(context: Context, finding: Finding) -> TensorRef | None:
    """The tensor that a finding is about, from the shard that it names."""
    for header in context.container.headers:
        if header.shard == finding.file and finding.tensor in header.tensors:
            return header.tensors[finding.tensor]
    return None


def _owner(context: Context, finding: Finding) -> QuantizedModule | None:
    """The quantized module whose weight scale a finding is about; its name is one or two parts shorter."""
    name = names.parent(finding.tensor or "")
    for candidate in (name, names.parent(name)):
        module = context.checkpoint.modules.get(candidate) if context.checkpoint else None
        if module is not None and module.weight_scale is not None and module.weight_scale.name == finding.tensor:
            return module
    return None
