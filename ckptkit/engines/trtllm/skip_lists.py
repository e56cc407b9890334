"""How TensorRT-LLM reads skip lists. How it matches those of compressed-tensors is not known."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.skip_lists import Reading, Style

_FP8 = Reading(Style.GLOB, ("modules_to_not_convert",), head_left_alone=True)

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "modelopt": Reading(Style.GLOB, ("exclude_modules", "ignore")),
    }
)
