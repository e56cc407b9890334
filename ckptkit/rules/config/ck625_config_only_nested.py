"""CK625 config-only-nested, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import Fault
from ckptkit.formats import config_block


@rule(
    "CK625",
    "config-only-nested",
    Severity.WARNING,
    reports=(
        "huggingface/transformers#48349",
        "xorbitsai/inference#4959",
    ),
)
def config_only_nested(context: Context) -> Iterator[Fault]:
    """The quantization config sits in a sub-config only.

    Why it hurts: several engines look at the top level alone and load FP8 codes as values; names in the skip list
    mean something else when the language model is loaded on its own.

    Example: ``text_config.quantization_config`` and nothing at the top.

    Fix: copy the block to the top level, and list modules under both prefixes.
    """
    if context.located is not None and "." in context.located.path:
        message = "the quantization config is not at the top level"
        yield Fault("config-nested", message, "config.json", None, "quantization_config", context.located.path)


@fix("safe", "CK625")
def copy_block_to_top(context: Context, finding: Finding) -> Iterator[Edit]:
    """Put the block at the top level too, where every engine looks first."""
    vacant = context.config.get(config_block.KEY) is None
    if context.located is not None and "." in context.located.path and vacant:
        yield SetKey((config_block.KEY,), dict(context.located.block))
