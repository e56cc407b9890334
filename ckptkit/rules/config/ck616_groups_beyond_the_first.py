"""CK616 groups-beyond-the-first, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.rules.config.block import put_right


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

    Why it hurts: TensorRT-LLM looks for ``group_0`` by name and stops without it; it applies that group's scheme to
    every module and never reads targets, as other small consumers do.

    Example: ``config_groups: {"mlp": {...}}``. Several groups are legitimate and reported as a note.

    Fix: rename the only group.
    """
    yield from context.faults("group-name")
    note = Effect("trtllm", ENGINES["trtllm"].version, Outcome.SILENT, "applies group_0 to every module")
    for fault in context.faults("groups-several"):
        yield Observation.of(fault, engines=(note,), severity=Severity.INFO)


@fix("safe", "CK616")
def name_single_group(context: Context, finding: Finding) -> Iterator[Edit]:
    """Call the only group ``group_0``, under which some readers look for it."""
    yield from put_right(context, "group-name")
