"""CK616 groups-beyond-the-first, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, RenameKey
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.rules.config.arguments import config_groups
from ckptkit.rules.config.block import block_path


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
    groups = config_groups(context)
    if len(groups) == 1 and "group_0" not in groups:
        (name,) = groups
        message = "some consumers look for the group by name"
        yield Fault("group-name", message, "config.json", None, "config_groups.group_0", f"config_groups.{name}")
    elif len(groups) > 1:
        note = Effect("trtllm", ENGINES["trtllm"].version, Outcome.SILENT, "applies group_0 to every module")
        yield Observation(
            "groups-several",
            "consumers that know one scheme apply the first group to every module",
            "config.json",
            found=", ".join(groups)[:80],
            engines=(note,),
            severity=Severity.INFO,
        )


@fix("safe", "CK616")
def name_single_group(context: Context, finding: Finding) -> Iterator[Edit]:
    """Call the only group ``group_0``, under which some readers look for it."""
    groups = context.block.get("config_groups")
    if isinstance(groups, Mapping) and len(groups) == 1 and "group_0" not in groups:
        (name,) = groups
        yield RenameKey((*block_path(context), "config_groups", name), "group_0")
