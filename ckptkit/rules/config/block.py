"""The edits with which a config's own format puts it right, and what its faults are about."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.edits.changes import Edit
from ckptkit.formats.base import ConfigFault


def put_right(context: Context, *kinds: str) -> Iterator[Edit]:
    """The edits that the checkpoint's format has for its config's faults of these kinds, each once."""
    if context.checkpoint is None or context.format is None:
        return
    made: list[Edit] = []
    for fault in context.faults(*kinds):
        made += (edit for edit in context.format.config_edits(context.checkpoint, fault) if edit not in made)
    yield from made


def kinds_of_layers(context: Context) -> str:
    """The layers for which engines may have no other scheme than one in FP8, as variants of findings end: experts,
    blocks, and those with scales of inputs."""
    if context.experts:
        return "-experts"
    if context.blocked_kinds:
        return "-blocks"
    return "-static" if any(module.scheme.has_static_input for module in context.modules) else ""


def is_said_otherwise(context: Context, what: str) -> bool:
    """Whether a format finds this wrong with the config, by the word that it has for it."""
    return any(isinstance(fault, ConfigFault) and fault.what == what for fault in context.reading_faults)
