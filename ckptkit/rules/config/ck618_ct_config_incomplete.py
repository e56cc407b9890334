"""CK618 ct-config-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import CkptkitError, Fault
from ckptkit.formats.base import WriteOptions
from ckptkit.formats.compressed_tensors.config import FP8_FORMATS
from ckptkit.rules.config.arguments import all_args
from ckptkit.rules.config.block import block_path


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
    ``quantization_status`` is "compressed" transformers makes up scales; a preset name instead of a group stops vLLM.

    Example: ``"weights": {"num_bits": 8, "strategy": "channel"}``, where the type defaults to int.

    Fix: write the key; converting the checkpoint to compressed-tensors does.
    """
    yield from context.faults("ct-format", "ct-type-missing", "ct-status", "ct-preset-group")


@fix("safe", "CK618")
def fill_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write format, type and status, and a preset's scheme instead of its name.

    The config was understood as FP8 without them; now every reader understands it so.
    """
    block, path = context.block, block_path(context)
    groups = block.get("config_groups")
    if context.method != "compressed-tensors" or not isinstance(groups, Mapping):
        return
    if any(isinstance(group, list) for group in groups.values()):
        written = _written_groups(context)
        if written is not None:
            yield SetKey((*path, "config_groups"), written)
    else:
        own = [group.get("format") for group in groups.values() if isinstance(group, Mapping)]
        if block.get("format") not in FP8_FORMATS and not (own and all(own)):
            yield SetKey((*path, "format"), "float-quantized")
        for way, args in all_args(block):
            if args.get("type") is None:
                yield SetKey((*path, *way, "type"), "float")
    if block.get("quantization_status") != "compressed":
        yield SetKey((*path, "quantization_status"), "compressed")


def _written_groups(context: Context) -> Any:
    if context.checkpoint is None or context.format is None:
        return None
    try:
        return (context.format.write(context.checkpoint, WriteOptions()).quantization_config or {})["config_groups"]
    except (CkptkitError, KeyError):
        return None
