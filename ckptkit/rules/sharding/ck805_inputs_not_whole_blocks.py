"""CK805 inputs-not-whole-blocks."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock, PerGroup


@rule(
    "CK805",
    "inputs-not-whole-blocks",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    unreported="found by running the exporters' own ragged blocks",
)
def inputs_not_whole_blocks(context: Context) -> Iterator[Fault]:
    """A block-quantized weight has a number of inputs that is no whole number of blocks.

    Why it hurts: activations are quantized in groups as wide as a block. vLLM pads or takes a short last group;
    transformers and Quark stop at the first request.

    Example: ``down_proj`` with 160 inputs in blocks of 128.

    Fix: quantize this module per channel, or leave it in BF16.
    """
    every = context.checkpoint.alike if context.checkpoint is not None else ()
    inputs_of_blocks = [
        kind.first.scheme.input for kind in every if isinstance(kind.first.scheme.weight.granularity, PerBlock)
    ]
    grouped = any(inputs is not None and isinstance(inputs.granularity, PerGroup) for inputs in inputs_of_blocks)
    for kind in context.blocked_kinds:
        if kind.shape[1] % kind.columns:
            message, found = "inputs are no whole number of blocks", f"{kind.shape[1]} inputs"
            expected = f"a multiple of {kind.columns}"
            variant = None if grouped else "other-inputs"
            yield Observation("block-columns", message, None, kind.name, expected, found, variant=variant)
    for alike in every:
        module, inputs = alike.first, alike.first.scheme.input
        group = inputs.granularity if inputs is not None else None
        blocked = isinstance(module.scheme.weight.granularity, PerBlock)
        if isinstance(group, PerGroup) and not blocked and module.weight.shape[-1] % group.size:
            message, found = "inputs are no whole number of groups", f"{module.weight.shape[-1]} inputs"
            yield Fault("block-columns", message, None, module.name, f"a multiple of {group.size}", found)
