"""CK610 skip-list-in-fused-names, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import AddItem, Edit
from ckptkit.errors import Fault
from ckptkit.formats.dialect import texts
from ckptkit.model import names
from ckptkit.rules.config.skip_entries import entries, skip_key, skip_lists


@rule(
    "CK610",
    "skip-list-in-fused-names",
    Severity.WARNING,
    reports=(
        "sgl-project/sglang#26213",
        "sgl-project/sglang#39317",
        "vllm-project/vllm#46757",
    ),
)
def skip_list_in_fused_names(context: Context) -> Iterator[Fault]:
    """The skip list names fused layers that are stored in parts, or single leaves of experts.

    Why it hurts: some readers look for the stored parts, some for the fused layer they build, and few for both.
    Leaves of experts are matched by engines that look at each expert, not by those that see one layer of experts;
    they are reported as a note.

    Example: ``model.layers.0.self_attn.qkv_proj`` where q_proj, k_proj and v_proj are stored.

    Fix: list the stored names and the fused one, and the experts' container.
    """
    modules = set(context.linear_names) | set(context.names_in_memory.values())
    leaves, listed = [], set(entries(context))
    for entry in entries(context) if context.checkpoint else ():
        if names.EXPERT.search(entry):
            leaves.append(entry)
            continue
        stored = names.stored_parts(entry, modules)
        if entry not in modules and not listed.issuperset(stored):
            message = "the entry names a fused layer, and its parts are stored"
            found = f"{skip_key(context)}: {entry!r}"
            expected = ", ".join(map(names.last_part, stored))
            yield Fault("skip-fused", message, context.section.file, entry, expected, found)
    containers = {entry[: entry.find(".experts.") + len(".experts")] for entry in leaves}
    unlisted = containers.difference(entries(context))
    if leaves and unlisted:
        yield Observation(
            "skip-expert-leaves",
            f"{len(leaves)} entries name parts of single experts; engines that see one layer of experts miss them",
            context.section.file,
            expected=f"{min(unlisted)} as well",
            found=leaves[0],
            severity=Severity.INFO,
        )


@fix("safe", "CK610")
def list_stored_names(context: Context, finding: Finding) -> Iterator[Edit]:
    """Name the parts of a fused layer beside the layer, and beside single experts their container."""
    modules = set(context.checkpoint.linear_modules if context.checkpoint else ())
    for listed in skip_lists(context):
        for entry in texts(list(listed.entries)):
            wanted = [] if entry in modules else list(names.stored_parts(entry, modules))
            if (leaf := names.EXPERT.search(entry)) is not None:
                wanted.append(entry[: leaf.start()] + ".experts")
            yield from (AddItem(listed.way, name, listed.file) for name in wanted)
