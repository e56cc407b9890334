"""CK105 index-tensor-missing, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, RebuildIndex
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import is_fp8, is_quantizer_name


@rule(
    "CK105",
    "index-tensor-missing",
    Severity.ERROR,
    reports=(
        "huggingface/huggingface_hub#4725",
        "huggingface/huggingface_hub#4728",
        "vllm-project/vllm#57108",
    ),
)
def index_tensor_missing(context: Context) -> Iterator[Fault]:
    """The index places a tensor in a shard that does not hold it.

    Why it hurts: loaders of quantized models do not check that every parameter was loaded; the missing one keeps
    whatever value it was created with. A bias that no layer stores is one that the model does not have.

    Example: ``mtp.fc.weight`` is listed for shard 7, whose header does not know it.

    Fix: rebuild the index if the tensor is in another shard, else export again.
    """
    stored: set[str] | None = None
    for fault in context.faults("index-tensor-missing"):
        name, variant = fault.tensor or "", None
        if name in context.container.tensors:
            variant = "elsewhere"
        elif name.endswith(".bias"):
            stored = stored or set(map(names.generalise, context.container.tensors))
            variant = None if names.generalise(name) in stored else "bias-of-none"
        elif is_quantizer_name(name) and _is_plain(context, name.rpartition(".")[0]):
            variant = "scale-of-none"
        yield Observation.of(fault, variant=variant)


def _is_plain(context: Context, module: str) -> bool:
    """Whether a module's weight is stored in high precision: whoever dequantized it had no more use for its scale."""
    weight = context.container.tensors.get(names.join(module, "weight"))
    return weight is not None and not is_fp8(weight.dtype)


@fix("safe", "CK105")
def repoint_index(context: Context, finding: Finding) -> Iterator[Edit]:
    """Point the index at the shard that holds the tensor. A tensor that no shard holds cannot be placed."""
    if isinstance(finding.subject, StoredTensor) and finding.subject.name in context.container.tensors:
        yield RebuildIndex()
