"""How transformers reads skip lists: by the names that modules have in memory."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.name_maps import NameMap
from ckptkit.engines.skip_lists import Reading, Style
from ckptkit.engines.targets import in_library_group
from ckptkit.engines.transformers.classes import LINEAR_ROUTERS

#: What classes make of stored names and of entries that name what wraps them (``conversion_mapping.py``).
_MAPS = dict.fromkeys(
    ("Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"),
    NameMap(begins=MappingProxyType({"model.language_model.": "model."})),
)
#: Ends of stored names of stacks of experts, and what holds both in memory.
_STACKS = MappingProxyType(
    {"GraniteMoe": MappingProxyType(dict.fromkeys((".input_linear", ".output_linear"), ".experts"))}
)
#: Entries of these lists are mapped as stored names are.
_FP8 = Reading(
    Style.PREFIX_OR_SUFFIX,
    ("modules_to_not_convert", "ignored_layers"),
    unsaid=("lm_head",),
    maps_of=MappingProxyType(_MAPS),
    renames_of=_STACKS,
    converts=True,
    linear_routers=LINEAR_ROUTERS,
)

#: Beginnings of stored names that a class has others for, where transformers itself renames them while it loads.
_BEGINS = MappingProxyType({"NemotronH": MappingProxyType({"backbone.": "model."})})

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "compressed-tensors": Reading(
            Style.EXACT_REGEX_CLASS,
            ("ignore",),
            names_in_memory=True,
            declares=in_library_group,
            begins_of=_BEGINS,
            linear_routers=LINEAR_ROUTERS,
        ),
        "quark": Reading(
            Style.GLOB, ("exclude",), names_in_memory=True, begins_of=_BEGINS, linear_routers=LINEAR_ROUTERS
        ),
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
    }
)
