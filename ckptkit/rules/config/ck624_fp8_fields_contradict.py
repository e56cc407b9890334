"""CK624 fp8-fields-contradict, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.model import names
from ckptkit.rules.config.block import put_right


@rule("CK624", "fp8-fields-contradict", Severity.ERROR, reports=("sgl-project/sglang#4524",))
def fp8_fields_contradict(context: Context) -> Iterator[Fault]:
    """The fields of a ``quant_method: fp8`` config cannot go together, or not with the scales that are stored.

    Why it hurts: vLLM wants ``activation_scheme`` to be static or dynamic, two numbers for a block size, and dynamic
    activations with blocks; it stops otherwise. Without a block size it looks for one scale a tensor, and transformers
    for blocks of 128x128. vLLM builds the experts of DeepSeek-V4 as ``expert_dtype`` in config.json says, and in four
    bits where it says nothing; SGLang and TensorRT-LLM look at the tensors.

    Example: ``weight_block_size: [128, 128]`` with ``activation_scheme: static``.

    Fix: correct the fields; a block size that is missing beside grids of scales is written, and what experts are.
    """
    for fault in context.faults("fp8-fields"):
        yield Observation.of(fault, variant=fault.what or None if isinstance(fault, ConfigFault) else None)
    for fault in context.faults("fp8-experts"):
        yield Observation.of(fault, variant="experts")
    for fault in context.faults("fp8-block-size"):
        what = fault.what if isinstance(fault, ConfigFault) else ""
        words = ("block-size", what or "experts" * _has_dynamic_experts(context))
        severity = Severity.WARNING if what else Severity.INFO
        yield Observation.of(fault, variant="/".join(filter(None, words)), severity=severity)


def _has_dynamic_experts(context: Context) -> bool:
    """Whether there are experts whose inputs are quantized while running: of these blocks can be built."""
    inputs = said(context, keys_of(context).inputs)
    return inputs != "static" and any(names.experts_owner(name) is not None for name in context.linear_kinds)


@fix("safe", "CK624")
def write_block_size(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write the block size that the stored grids fit and that transformers takes where none is given, or what experts
    are stored in."""
    yield from put_right(context, "fp8-fields")
    yield from put_right(context, "fp8-experts")
