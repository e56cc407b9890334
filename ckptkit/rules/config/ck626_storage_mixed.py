"""CK626 storage-mixed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.rules.naming.scale_names import PACKED_ENDINGS


@rule(
    "CK626",
    "storage-mixed",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#46311",
        "NVIDIA/Model-Optimizer#929",
    ),
)
def storage_mixed(context: Context) -> Iterator[Fault]:
    """Weights of another quantization are stored beside FP8 ones, under a config that describes one method.

    Why it hurts: an engine that takes the one method for all modules skips the scales of the others and computes
    garbage.

    Example: packed INT4 experts (``qweight``) beside FP8 attention (``weight_scale``) under ``quant_method: gptq``.

    Fix: declare the scheme of each group of modules.
    """
    if not context.has_fp8_weights:
        return
    if PACKED_ENDINGS.isdisjoint(context.endings):
        return
    kinds: dict[str, str] = {}
    for name in context.container.tensors:
        last = name.rpartition(".")[2]
        if last in PACKED_ENDINGS and name not in context.opaque_parts:
            kinds.setdefault(last, name)
    for last, name in kinds.items():
        message = "weights of another quantization beside FP8 weights"
        tensor = context.container.tensors[name]
        found = f"{tensor.dtype} {last}"
        yield Fault("storage-mixed", message, tensor.shard, name, "FP8 or high precision only", found)
