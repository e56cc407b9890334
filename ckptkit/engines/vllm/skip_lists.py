"""How vLLM reads skip lists."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.skip_lists import Reading, Style
from ckptkit.engines.targets import in_vllm_group

_FP8 = Reading(
    Style.EXACT,
    ("ignored_layers", "modules_to_not_convert"),
    fuses=True,
    experts_as_one=True,
    head_left_alone=True,
    whole_too=True,
)

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "compressed-tensors": Reading(
            Style.EXACT_OR_REGEX, ("ignore",), fuses=True, declares=in_vllm_group, whole_too=True
        ),
        "quark": Reading(
            Style.EXACT_OR_REGEX, ("exclude",), fuses=True, experts_as_one=True, head_left_alone=True, whole_too=True
        ),
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "fbgemm": Reading(Style.EXACT, ("modules_to_not_convert",), fuses=True, head_left_alone=True),
        "modelopt": Reading(Style.SUBSTRING_OR_GLOB, ("ignore", "exclude_modules"), fuses=True),
        "mxfp8": Reading(Style.SUBSTRING_OR_GLOB, ("ignored_layers",), fuses=True),
    }
)
