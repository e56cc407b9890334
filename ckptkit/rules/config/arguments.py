"""The groups of a config, and the roles that each of them quantizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.checks.context import Context

ROLES = ("weights", "input_activations", "output_activations")


def config_groups(context: Context) -> dict[str, Mapping[str, Any]]:
    """The groups that name the modules they apply to, in formats that have such."""
    key = context.dialect.targets_key if context.dialect is not None else None
    groups = context.block.get(key) if key is not None else None
    items = groups.items() if isinstance(groups, Mapping) else ()
    return {str(name): group for name, group in items if isinstance(group, Mapping)}
