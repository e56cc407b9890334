"""CK705 fused-input-scales-differ, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Module, Observation, Severity
from ckptkit.checks.registry import Level, fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.rules.fused.parts import differing_scalars, input_scalar, spread
from ckptkit.rules.values.replacement import take_largest


@rule(
    "CK705",
    "fused-input-scales-differ",
    Severity.WARNING,
    level=Level.SCALES,
    reports=(
        "NVIDIA/TensorRT-LLM#10780",
        "intel/auto-round#1216",
        "vllm-project/vllm-gaudi#720",
    ),
)
def fused_input_scales_differ(context: Context) -> Iterator[Fault]:
    """Static input scales differ between modules that are loaded as one and hence see one input.

    Why it hurts: vLLM takes the largest, silently; for experts the value that is read last, or stops. TensorRT-LLM
    asserts, or takes the first.

    Example: q_proj 0.011, k_proj 0.013. Experts that see different tokens may differ and are not compared.

    Fix: set all of them to the largest, which is what engines do.
    """
    for group, values in differing_scalars(context, input_scalar):
        yield Observation(
            "fused-input-scales",
            f"the parts of {group.fused} see one input, and their input scales differ",
            tensor=group.owner,
            expected="one value",
            found=spread(values),
            subject=Module(group.owner),
        )


@fix("unsafe", "CK705")
def share_largest_input_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Set the input scales of modules that are loaded as one to the largest, as vLLM does; rounding changes a bit."""
    modules = context.checkpoint.modules if context.checkpoint else {}
    for group in context.fused_groups:
        if finding.subject == Module(group.owner):
            scales = [modules[name].input_scale for name in group.members if name in modules]
            yield from take_largest(context, [scale for scale in scales if scale is not None])
