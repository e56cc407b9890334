"""The groups of a config and the arguments of their roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.edits.changes import Path

ROLES = ("weights", "input_activations", "output_activations")


def config_groups(context: Context) -> dict[str, Mapping[str, Any]]:
    groups = context.block.get("config_groups")
    if context.method != "compressed-tensors" or not isinstance(groups, Mapping):
        return {}
    return {str(name): group for name, group in groups.items() if isinstance(group, Mapping)}


def all_args(block: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every QuantizationArgs of a block, with the way to it."""
    groups = block.get("config_groups")
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        for role in ROLES:
            if isinstance(group, Mapping) and isinstance(group.get(role), Mapping):
                yield ("config_groups", name, role), group[role]
    if isinstance(block.get("kv_cache_scheme"), Mapping):
        yield ("kv_cache_scheme",), block["kv_cache_scheme"]
