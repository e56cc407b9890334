"""How Quark reads its own skip lists."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.matchers import Style
from ckptkit.engines.skip_lists import Reading

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "quark": Reading(Style.GLOB, ("exclude",)),
        "quark-fp8": Reading(Style.GLOB, ("ignored_layers",)),
    }
)
