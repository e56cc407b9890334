"""CK620 config-legacy-key, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, RenameKey
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault, where_of
from ckptkit.formats.config_block import KEY, LEGACY_KEY
from ckptkit.rules.config.block import put_right

#: The kind of fault by which a reader says that itself.
_SAID = "config-legacy-key"


@rule(
    "CK620",
    "config-legacy-key",
    Severity.WARNING,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/compressed-tensors#169",
        "vllm-project/llm-compressor#1241",
        "EricLBuehler/mistral.rs#2416",
    ),
)
def config_legacy_key(context: Context) -> Iterator[Fault]:
    """The config uses a block that newer readers do not look at or refuse: ``compression_config``, ``sparsity_config``.

    Why it hurts: under ``compression_config`` newer readers find no quantization at all; vLLM stops at a
    ``sparsity_config`` that names targets, even a dense one.

    Example: ``"sparsity_config": {"format": "dense", "targets": ["Linear"]}``.

    Fix: move the block to ``quantization_config``; remove the sparsity block of a dense model.
    """
    for fault in context.faults(_SAID, "ct-sparsity"):
        yield Observation.of(fault, variant="key" if fault.kind == _SAID else None)
    if _is_elsewhere(context):
        message = "the block sits under a key that newer readers do not look at"
        yield Observation(_SAID, message, "config.json", expected=KEY, found=LEGACY_KEY, variant="key")
    for fault in context.faults("config-value"):
        if where_of(fault).startswith("sparsity_config"):
            variant = fault.what if isinstance(fault, ConfigFault) and fault.what else None
            yield Observation.of(fault, variant=variant, severity=Severity.ERROR)


def _is_elsewhere(context: Context) -> bool:
    """Whether the block of a format that does not say so itself is under the older key, and nothing under the usual."""
    under = context.located is not None and context.located.path == LEGACY_KEY and KEY not in context.config
    return under and context.has_reader and all(f.kind != _SAID for f in context.reading_faults)


@fix("safe", "CK620")
def move_legacy_block(context: Context, finding: Finding) -> Iterator[Edit]:
    """Put the block under the key that readers look at, and leave out a sparse compression that says "none"."""
    yield from put_right(context, _SAID, "ct-sparsity")
    if _is_elsewhere(context):
        yield RenameKey((LEGACY_KEY,), KEY)
