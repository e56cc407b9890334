"""CK203 scale-name-of-other-dialect, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, Rename
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.naming.scale_names import misnamed_scale, stored_tensor

#: Types of weights whose elements are packed, or are integers.
_INTEGERS = frozenset({"U8", "I8", "I32", "U32"})


@rule(
    "CK203",
    "scale-name-of-other-dialect",
    Severity.ERROR,
    reports=(
        "amd/Quark#42",
        "vllm-project/vllm#54770",
        "vllm-project/vllm#54126",
        "huggingface/transformers#45699",
    ),
)
def scale_name_of_other_dialect(context: Context) -> Iterator[Fault]:
    """A weight scale has the name that another dialect gives it: ``weight_scale`` and ``weight_scale_inv`` mixed up.

    Why it hurts: each loader registers one of the two names and stops at the other. Both hold the multiplier; the
    name does not say that a value is inverted. In Quark checkpoints the longer name is CK204.

    Example: ``q_proj.weight_scale_inv`` in a compressed-tensors checkpoint, or ``q_proj.weight_scale`` where
    ``quant_method: fp8`` has a ``weight_block_size``.

    Fix: rename the tensors and the index entries; no byte of them changes.
    """
    spelling = misnamed_scale(context)
    if spelling is None:
        return
    wanted, wrong = spelling
    tensors = context.container.tensors
    for name, tensor in tensors.items() if wrong in context.endings else ():
        if name.endswith(wrong) and name.rpartition(".")[2] == wrong and name not in context.opaque_parts:
            weight = tensors.get(names.join(tensor.module, "weight"))
            if weight is not None and weight.dtype in _INTEGERS:
                continue  # another quantization, of which the config says nothing: no name of this dialect suits it
            yield Fault(
                "scale-name-dialect",
                "loaders of this dialect register the scale under another name",
                tensor.shard,
                name,
                expected=names.join(tensor.module, wanted),
                found=wrong,
                help="rename it; both names hold the multiplier",
            )


@fix("safe", "CK203")
def rename_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that the dialect's loaders know: all these names mean the multiplier."""
    scale, spelling = stored_tensor(context, finding), misnamed_scale(context)
    if scale is not None and spelling is not None:
        yield Rename(scale.shard, scale.name, names.join(scale.module, spelling[0]))
