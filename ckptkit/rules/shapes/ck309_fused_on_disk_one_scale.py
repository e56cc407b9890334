"""CK309 fused-on-disk-one-scale."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import PerTensor

#: What models with linear attention store merged.
_LINEAR_ATTENTION = frozenset({"in_proj_qkvz", "in_proj_ba"})


@rule(
    "CK309",
    "fused-on-disk-one-scale",
    Severity.INFO,
    reports=(
        "vllm-project/vllm#39764",
        "neuralmagic/nm-vllm#336",
        "NVIDIA/TensorRT-LLM#6761",
    ),
)
def fused_on_disk_one_scale(context: Context) -> Iterator[Fault]:
    """A weight that engines treat as several (qkv_proj, gate_up_proj) is stored as one, with one per-tensor scale.

    Why it hurts: loaders keep one slot for each part. vLLM takes the one scale today for all of them; older ones left
    the other slots uninitialised, and TensorRT-LLM wants one for each. SGLang stops at the one scale of a layer of
    linear attention (in_proj_qkvz, in_proj_ba).

    Example: Phi-3's ``qkv_proj.weight`` with ``weight_scale`` [].

    Fix: split the weight and copy the scale, or quantize per channel.
    """
    for module in context.modules_where(_has_one_scale_for_parts):
        message = "one scale for a layer that engines load in parts"
        fault = Fault("fused-one-scale", message, module.weight.shard, module.weight.name, None, "per-tensor scale")
        linear = names.last_part(module.name) in _LINEAR_ATTENTION
        yield Observation.of(fault, variant="linear-attention", severity=Severity.WARNING) if linear else fault


def _has_one_scale_for_parts(module: QuantizedModule) -> bool:
    last = names.last_part(module.name)
    fused = last in names.FUSED_QKV or last == "gate_up_proj" or last in _LINEAR_ATTENTION
    return fused and isinstance(module.scheme.weight.granularity, PerTensor)
