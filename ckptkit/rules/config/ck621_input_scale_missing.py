"""CK621 input-scale-missing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model import names


@rule(
    "CK621",
    "input-scale-missing",
    Severity.ERROR,
    reports=(
        "NVIDIA/TensorRT-LLM#6530",
        "NVIDIA/Model-Optimizer#500",
        "vllm-project/vllm#49715",
    ),
)
def input_scale_missing(context: Context) -> Iterator[Fault]:
    """Static activations are declared, but a module has no input scale.

    Why it hurts: vLLM loads it all the same and computes with the value the scale was allocated with; TensorRT-LLM
    scales inputs as they come, and stops at experts.

    Example: Quark's file-to-file export declares static inputs and stores no ``input_scale``.

    Fix: calibrate and export again, or declare dynamic activations.
    """
    stored = {module.name for module in context.modules if module.input_scale is not None}
    for module in context.modules:
        if module.scheme.has_static_input and module.input_scale is None:
            other = names.join(module.name, "activation_scale") in context.container.tensors
            yield Observation(
                "input-scale-missing",
                "static activations are declared, but the input scale is not stored",
                module.weight.shard,
                names.join(module.name, "input_scale"),
                expected="one value",
                found="nothing",
                help="calibrate and export again, or declare dynamic activations",
                variant="other-name" if other else "in-part" if _has_sibling(module.name, stored) else None,
            )


def _has_sibling(module: str, stored: set[str]) -> bool:
    """Whether another part of the layer that engines fuse a module into is among these."""
    fused = names.fused_layer(module)
    parts = names.FUSED_GROUPS[names.last_part(fused)] if fused is not None else ()
    return any(names.join(names.parent(module), part) in stored for part in parts)
