"""CK209 part-missing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.model.checkpoint import OpaqueModule, Part


@rule(
    "CK209",
    "part-missing",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#54444",
        "vllm-project/vllm#54189",
        "vllm-project/vllm#45212",
    ),
)
def part_missing(context: Context) -> Iterator[Fault]:
    """A module in another quantization than FP8 lacks a tensor that its declared scheme needs.

    Why it hurts: vLLM does not check quantized models for missing tensors; the scale keeps whatever the memory held,
    and the layer computes garbage, or nothing at all where that was 0.

    Example: an NVFP4 module with ``weight_packed`` and ``weight_scale``, and no ``weight_global_scale``.

    Fix: export again; a scale cannot be made up.
    """
    for module in context.checkpoint.opaque.values() if context.checkpoint is not None else ():
        weight = module.weight
        for part in _needed(module):
            if part not in module.parts and weight is not None:
                message = f"a module in {module.scheme.name} has no {part.value}"
                variant = {Part.SCALE: "scale", Part.INPUT_SCALE: "inputs"}.get(part)
                yield Observation(
                    "part-missing", message, weight.shard, weight.name, part.value, "nothing", variant=variant
                )


def _needed(module: OpaqueModule) -> Iterator[Part]:
    """What the scheme of a weight cannot do without, as far as it is known."""
    weight, inputs = module.scheme.weight, module.scheme.input
    if weight is not None:
        yield Part.SCALE
        if weight.second is not None:
            yield Part.SECOND_SCALE
        if not weight.symmetric:
            yield Part.ZERO_POINT
    if inputs is not None and not inputs.dynamic and inputs.second is None:
        yield Part.INPUT_SCALE
