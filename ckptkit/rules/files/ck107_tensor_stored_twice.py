"""CK107 tensor-stored-twice, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Drop, Edit
from ckptkit.errors import Fault
from ckptkit.rules.files.copies import equal

#: So many bytes of copies are read at most.
_COMPARED = 1 << 22


@rule(
    "CK107",
    "tensor-stored-twice",
    Severity.ERROR,
    reports=(
        "syv-ai/qwen38-27b-rtx3090#123",
        "JustVugg/colibri#1479",
        "sgl-project/sglang#35107",
    ),
)
def tensor_stored_twice(context: Context) -> Iterator[Fault]:
    """One tensor name is stored in two shards.

    Why it hurts: the copy that is read last wins, and the order is the loader's business. Small copies are compared:
    where they are equal, only their place is wasted.

    Example: two overlapping splits of one model in a folder, 4,090 names in both.

    Fix: rewrite the shards so that only the copy that the index names remains.
    """
    left = _COMPARED
    for fault in context.faults("shard-duplicate-tensor"):
        copies = [h.tensors[fault.tensor] for h in context.container.headers if fault.tensor in h.tensors]
        left -= sum(copy.nbytes for copy in copies)
        same = left >= 0 and len(copies) > 1 and equal(context.container, copies)
        index = context.container.index
        named = index.weight_map.get(fault.tensor or "") if index is not None else None
        last = max((copy.shard for copy in copies), default=None)
        yield Observation.of(fault, variant="same" if same else "indexed-last" if last == named else None)


@fix("unsafe", "CK107")
def drop_other_copies(context: Context, finding: Finding) -> Iterator[Edit]:
    """Keep the copy that the index names. Loaders may have used another one, so this can change the numbers."""
    index = context.container.index
    subject = finding.subject
    if index is None or not isinstance(subject, StoredTensor):
        return
    kept = index.weight_map.get(subject.name)
    holders = [header.shard for header in context.container.headers if subject.name in header.tensors]
    if kept in holders:
        yield from (Drop(shard, subject.name) for shard in holders if shard != kept)
