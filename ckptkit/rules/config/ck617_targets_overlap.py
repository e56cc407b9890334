"""CK617 targets-overlap."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.checks.skip_lists import read_otherwise, readings_of
from ckptkit.engines import targets
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.shapes.grids import mismatches


@rule(
    "CK617",
    "targets-overlap",
    Severity.WARNING,
    reports=(
        "vllm-project/compressed-tensors#862",
        "vllm-project/vllm#49483",
    ),
)
def targets_overlap(context: Context) -> Iterator[Fault]:
    """Two config groups claim the same module, and readers disagree about which wins, or one target is given twice.

    Why it hurts: vLLM takes the first pattern in the config's order; compressed-tensors prefers exact names and sorts
    regular expressions. A target that two groups name silently belongs to the later one.

    Example: ``re:.*mlp.*`` in group_0 and the exact name ``model.layers.0.mlp.down_proj`` in group_1.

    Fix: write targets that do not overlap.
    """
    key = keys_of(context).groups
    bodies = targets.schemes_by_group(context.block, key) if key is not None else {}
    groups = targets.targets_by_group(context.block) if bodies else {}
    if len(groups) < 2:
        return
    owners: dict[str, str] = {}
    for name, words in groups.items():
        for word in words:
            if word in owners and bodies[owners[word]] != bodies[name]:
                message = "two groups with different schemes name the same target; the later one wins"
                found = f"{word!r}: {owners[word]}, {name}"
                yield Observation("target-twice", message, "config.json", None, "one group", found, variant="twice")
            owners[word] = name
    readers = {label: group_of(groups) for label, group_of in targets.READERS.items()}
    seen: set[str] = set()
    unfit = {module.name for module, _, _ in mismatches(context)}
    others = frozenset().union(*read_otherwise(context).values())
    for module in context.linear_names:
        answers = {label: group_of(module) for label, group_of in readers.items()}
        first, second = answers.values()
        if first is None or second is None or first == second or bodies[first] == bodies[second]:
            continue
        kind = names.generalise(module)
        if kind not in seen:
            seen.add(kind)
            found = "; ".join(f"{label}: {answer}" for label, answer in answers.items())
            message = "readers apply different groups to this module"
            only = others if module not in unfit else frozenset(readings_of(context)) - others
            yield Observation("targets-overlap", message, None, module, "one group", found, only=only)
