"""CK622 input-scale-unexpected, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Drop, Edit
from ckptkit.errors import Fault
from ckptkit.rules.naming.scale_names import stored_tensor


@rule(
    "CK622",
    "input-scale-unexpected",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "ggml-org/llama.cpp#22346",
        "sgl-project/sglang#5095",
    ),
)
def input_scale_unexpected(context: Context) -> Iterator[Fault]:
    """Dynamic activations are declared, but an input scale is stored.

    Why it hurts: vLLM creates no parameter for it and stops at its name.

    Example: ``q_proj.input_scale`` beside ``"input_activations": {"dynamic": true, ...}``.

    Fix: drop it, or declare static activations. A conversion drops it and says so.
    """
    for module in context.modules:
        if module.input_scale is not None and not module.scheme.has_static_input:
            yield Fault(
                "input-scale-unexpected",
                "activations are dynamic, but an input scale is stored",
                module.input_scale.shard,
                module.input_scale.name,
                expected="nothing",
                found=f"{module.input_scale.dtype} {list(module.input_scale.shape)}",
                help="drop it, or declare static activations",
            )


@fix("unsafe", "CK622")
def drop_input_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop an input scale that nothing reads because activations are scaled at run time.

    It was calibrated, and if it is the config that is wrong, it cannot be had again.
    """
    scale = stored_tensor(context, finding)
    if scale is not None:
        yield Drop(scale.shard, scale.name)
