"""CK619 ct-key-unknown, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.rules.config.block import put_right


@rule(
    "CK619",
    "ct-key-unknown",
    Severity.WARNING,
    reports=(
        "vllm-project/llm-compressor#2057",
        "vllm-project/llm-compressor#2234",
        "vllm-project/compressed-tensors#599",
        "vllm-project/llm-compressor#865",
    ),
)
def ct_key_unknown(context: Context) -> Iterator[Fault]:
    """A group or a tensor spec of a compressed-tensors config has a key that its readers refuse.

    Why it hurts: the library's classes forbid keys they do not know, so one new key makes a checkpoint unreadable for
    every engine that was released before it, and a misspelt one for all of them.

    Example: ``scale_dtype: null``, which older versions do not know. Keys that are merely new are notes.

    Fix: remove keys that are null or say what is the default anyway.
    """
    for fault in context.faults("config-unknown-key"):
        yield fault if isinstance(fault, ConfigFault) and len(fault.path) > 1 else _ignored_key(fault)
    for fault in context.faults("ct-key-recent"):
        yield Observation.of(fault, variant="recent", severity=Severity.INFO)


def _ignored_key(fault: Fault) -> Observation:
    """A key at the top level: readers drop it without a word. That matters where it is one of theirs, misspelt."""
    return Observation.of(fault, variant="ignored", severity=None if fault.help else Severity.INFO)


@fix("safe", "CK619")
def leave_out_null_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Leave out keys that some reader does not know where they say nothing."""
    yield from put_right(context, "config-unknown-key", "ct-key-recent")
