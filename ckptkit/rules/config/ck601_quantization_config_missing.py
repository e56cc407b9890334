"""CK601 quantization-config-missing, and its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import Fault
from ckptkit.formats import undeclared
from ckptkit.formats.config_block import KEY
from ckptkit.storage.container import CONFIG_FILE


@rule(
    "CK601",
    "quantization-config-missing",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#53950",
        "vllm-project/vllm#53967",
        "vllm-project/llm-compressor#959",
        "unslothai/unsloth#4919",
    ),
)
def quantization_config_missing(context: Context) -> Iterator[Fault]:
    """FP8 weights, or scales of weights, are stored, but config.json has no quantization_config.

    Why it hurts: engines load the bytes as if they were the values, or stop at the first scale they do not know.

    Example: the recipe was left in ``recipe.yaml`` and never reached config.json. Or the weights were saved
    uncompressed: BF16 beside ``weight_scale``, and no config says what the scales are for. Where no scale is stored
    either, a few numbers tell codes, which reach towards 448, from weights that were cast as they are.

    Fix: restore the block that the exporter wrote. Scales of a KV cache alone are a warning: engines leave them out.
    """
    if any(fault.kind == "json-invalid" and fault.file == CONFIG_FILE for fault in context.container.faults):
        return  # what it says is not known
    for fault in context.faults(undeclared.FP8):
        bare = undeclared.bare_weights(context.container)
        yield Observation(
            **{field.name: getattr(fault, field.name) for field in fields(Fault)},
            variant="no-scales" if bare else None,
            if_codes=("no-scales/codes", "no-scales/values") if bare else None,
            may_be_codes=bare,
        )
    for fault in context.faults(undeclared.SCALES):
        yield Observation.of(fault, variant="scales")
    for fault in context.faults(undeclared.KV_SCALES):
        yield Observation.of(fault, variant="kv-scales", severity=Severity.WARNING)


@fix("unsafe", "CK601")
def write_config(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write the quantization_config of the first format that has these names and shapes, where there is one.

    Unsafe: the scales' shapes decide how weights are quantized, but without stored scales nothing tells whether inputs
    were; they are then quantized while running.
    """
    found = undeclared.config_for(context.container) if context.config and context.located is None else None
    if found is not None:
        _, block = found
        yield SetKey((KEY,), dict(block))
