"""What rules about skip lists share: the keys that hold one, their entries, and adding a module to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Module, Observation
from ckptkit.edits.changes import AddItem, Edit, Path
from ckptkit.formats import registry
from ckptkit.formats.dialect import texts
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.rules.dtypes.stored_types import ONE_BYTE


def nothing_is_quantized(context: Context) -> bool:
    """Whether no module at all is stored quantized, although a config speaks of it."""
    checkpoint = context.checkpoint
    return checkpoint is not None and not (checkpoint.modules or checkpoint.opaque or checkpoint.stored_only)


class SkipList(NamedTuple):
    """A skip list as written: its file, the way to it, and its entries, none where the key has no list yet."""

    file: str
    way: Path
    entries: tuple[Any, ...]


def skip_lists(context: Context) -> Iterator[SkipList]:
    """Every list that an edit of the skip list has to change, the one that counts first."""
    for section in context.sections:
        for key in section.skip_keys:
            written = section.block.get(key)
            yield SkipList(section.file, (*section.way, key), tuple(written) if isinstance(written, list) else ())


def skip_key(context: Context) -> str:
    """The key of the config that holds the skip list, or would hold one."""
    return context.section.skip_keys[0]


def entries(context: Context) -> tuple[str, ...]:
    """The skip list as written, under the first key that has one, be it another format's."""
    keys = (skip_key(context), *registry.skip_keys(context.dialect))
    return next((found for key in keys if (found := texts(context.section.block.get(key)))), ())


def declared_high_precision(context: Context) -> Sequence[str]:
    """Modules that are stored in high precision although the config calls them quantized."""
    checkpoint = context.checkpoint
    if checkpoint is None or nothing_is_quantized(context):
        return ()
    return [name for name in checkpoint.declared_only if checkpoint.unquantized[name].dtype not in ONE_BYTE]


def incomplete(context: Context, name: str, message: str) -> Observation:
    """The fault that the skip list lacks a module."""
    key = skip_key(context)
    weight = context.checkpoint.unquantized[name] if context.checkpoint else None
    return Observation(
        "skip-list-incomplete",
        message,
        weight.shard if weight else None,
        weight.name if weight else name,
        expected=f"{name} in {key}",
        found=f"{weight.dtype}, no scale" if weight else None,
        help=f"add {name!r} to {key}",
        subject=Module(name) if weight is not None and weight.name == f"{name}.weight" else None,
    )


def list_module(context: Context, finding: Finding) -> Iterator[Edit]:
    """Add a module that is stored in high precision to the skip list, under every name by which engines ask for it."""
    subject, checkpoint = finding.subject, context.checkpoint
    if isinstance(subject, Module) and checkpoint is not None:
        found = [subject.name, *_wholes(subject.name, checkpoint)]
        other = context.names_in_memory.get(subject.name)
        if other is not None:
            found += [other, *(names.join(names.parent(other), names.last_part(whole)) for whole in found[1:])]
        for entry in found:
            yield from (AddItem(listed.way, entry, listed.file) for listed in skip_lists(context))


def _wholes(module: str, checkpoint: Checkpoint) -> Iterator[str]:
    """The fused layer that a module is part of, if no part of it is quantized."""
    parts = names.FUSED_GROUPS.get(names.last_part(names.fused_layer(module) or ""), ())
    siblings = (names.join(names.parent(module), part) for part in parts)
    stored = {name for name in siblings if checkpoint.has_module(name)}
    yield from names.whole_layers({name for name in stored if name in checkpoint.unquantized}, stored)
