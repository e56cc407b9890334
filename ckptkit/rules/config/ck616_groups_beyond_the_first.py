"""CK616 groups-beyond-the-first, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.checks.skip_lists import readings_of
from ckptkit.edits.changes import Edit
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.targets import targets_by_group
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock
from ckptkit.rules.config.block import put_right

#: The group that is looked for by its name.
_FIRST = "group_0"


@rule(
    "CK616",
    "groups-beyond-the-first",
    Severity.WARNING,
    reports=(
        "NVIDIA/TensorRT-LLM#15415",
        "alibaba/rtp-llm#1276",
    ),
)
def groups_beyond_the_first(context: Context) -> Iterator[Fault]:
    """The only config group is not called ``group_0``, or there are several.

    Why it hurts: small consumers look for ``group_0`` by name and stop without it; they apply that group's scheme to
    every module and never read targets. TensorRT-LLM takes the only group whatever it is called, and stops at several
    of which none is ``group_0``. SGLang looks for the sizes of blocks in the
    group that targets ``Linear``, whichever applies, and stops at merged layers where it finds none.

    Example: ``config_groups: {"mlp": {...}}``. Several groups are legitimate and reported as a note.

    Fix: rename the only group.
    """
    yield from context.faults("group-name")
    for fault in context.faults("groups-several"):
        variant = "several" if _FIRST in targets_by_group(context.block) else "several/none-first"
        yield Observation.of(fault, variant=variant, severity=Severity.INFO)

    yield from _blocks_by_name(context)


def _blocks_by_name(context: Context) -> Iterator[Fault]:
    """A merged layer in blocks, where an engine looks for their size in another group."""
    readings = {engine: reading.sizes_blocks for engine, reading in readings_of(context).items()}
    hit = [engine for engine, has in readings.items() if has is not None and not has(context.block)]
    for kind in context.checkpoint.alike if hit and context.checkpoint else ():
        if isinstance(kind.first.scheme.weight.granularity, PerBlock) and layer_of(kind.first.name) is Layer.FUSED:
            yield Observation(
                "groups-several",
                "the size of blocks of merged layers is looked for in the group that targets linear layers by class",
                "config.json",
                kind.first.name,
                expected="a target that is the class of linear layers",
                variant="blocks-by-name",
                only=frozenset(hit),
            )
            return


@fix("safe", "CK616")
def name_single_group(context: Context, finding: Finding) -> Iterator[Edit]:
    """Call the only group ``group_0``, under which some readers look for it."""
    yield from put_right(context, "group-name")
