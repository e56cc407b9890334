"""CK618 ct-config-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.rules.config.block import kinds_of_layers, put_right
from ckptkit.rules.config.skip_entries import nothing_is_quantized


@rule(
    "CK618",
    "ct-config-incomplete",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "ml-explore/mlx-lm#1865",
        "neuralmagic/nm-vllm#343",
        "vllm-project/vllm-ascend#10222",
    ),
)
def ct_config_incomplete(context: Context) -> Iterator[Fault]:
    """A compressed-tensors config lacks what one of its loaders cannot do without.

    Why it hurts: without ``format`` vLLM finds no scheme; without ``type: float`` it loads an INT8 scheme; unless
    ``quantization_status`` is "compressed" transformers makes up scales; a preset name instead of a group stops vLLM,
    and so does null for ``ignore``.

    Example: ``"weights": {"num_bits": 8, "strategy": "channel"}``, where the type defaults to int.

    Fix: write the key; converting the checkpoint to compressed-tensors does.
    """
    # Weights that were saved uncompressed are values whatever the status says.
    status = () if nothing_is_quantized(context) else ("ct-status",)
    for fault in context.faults("ct-format", "ct-type-missing", *status, "ct-preset-group", "ct-null-list"):
        yield Observation.of(fault, variant=f"{fault.kind.removeprefix('ct-')}{_where(context, fault)}")


def _where(context: Context, fault: Fault) -> str:
    """For which layers engines have nothing, where a scheme is taken for one of integers; the KV cache is no layer."""
    if fault.kind != "ct-type-missing":
        return ""
    what = fault.what if isinstance(fault, ConfigFault) else ""
    return f"-{what}" if what else kinds_of_layers(context)


@fix("safe", "CK618")
def fill_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write format, type and status, a preset's scheme instead of its name, and an empty list for null.

    The config was understood as FP8 without them; now every reader understands it so.
    """
    yield from put_right(context, "ct-format", "ct-type-missing", "ct-status", "ct-preset-group", "ct-null-list")
