"""Names under which scales are stored."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.edits.changes import Edit, Rename
from ckptkit.storage.payload import TensorRef

#: Endings of weights that another kind of quantization has packed; CK626 speaks of those.
PACKED_ENDINGS = frozenset({"weight_packed", "qweight", "qzeros", "g_idx", "weight_shape", "weight_zero_point"})


def scale_name(context: Context) -> str | None:
    """What the declared dialect calls a weight scale; None where several names are fine."""
    if context.method == "compressed-tensors":
        return "weight_scale"
    if context.method == "fp8" and context.checkpoint is None:
        blocks = context.block.get("weight_block_size")
        if blocks is not None and not isinstance(blocks, list):
            return None  # CK629 has the word; a name is not changed on the strength of it
        return "weight_scale_inv" if blocks else "weight_scale"
    return "weight_scale" if context.method == "modelopt" else None


def rename_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that the dialect's loaders know: all these names mean the multiplier."""
    scale = stored_tensor(context, finding)
    if scale is not None and finding.expected and finding.expected != scale.name:
        yield Rename(scale.shard, scale.name, finding.expected)


def stored_tensor(context: Context, finding: Finding) -> TensorRef | None:
    """The tensor that a finding is about, from the shard that it names."""
    for header in context.container.headers:
        if header.shard == finding.file and finding.tensor in header.tensors:
            return header.tensors[finding.tensor]
    return None
