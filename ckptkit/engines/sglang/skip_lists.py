"""How SGLang reads skip lists.

compressed-tensors and Quark ask for a fused layer by its stored parts only where the model class declares these; in all
other classes, Llama among them, ``q_proj`` on a list says nothing. ``quark`` itself declares gate and up for every
class, and the readers of plain FP8 and of ModelOpt know the usual parts without a class. ModelOpt's own layout is read
in a file of its own; in config.json it is made flat first, and ``exclude_modules`` is no key of a flat config.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.matchers import Style
from ckptkit.engines.sglang.classes import (
    BEGINS,
    INNER,
    KNOWS_GATE_UP,
    KNOWS_QKV,
    MAPS,
    NAMELESS,
    NAMELESS_HEADS,
    NAMELESS_PARTS,
    NO_QKV,
    PLAIN,
)
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.targets import class_has_blocks, in_vllm_group, quark_scheme, vllm_entry

#: How its classes build layers, whatever the format.
_reading = partial(
    Reading, nameless=NAMELESS, plain_of=PLAIN, begins_of=BEGINS, inner_of=INNER, nameless_of=NAMELESS_PARTS
)

_FP8 = _reading(
    Style.COMPONENTS,
    ("ignored_layers", "modules_to_not_convert"),
    fuses=True,
    head_left_alone=True,
    merged_by_parts=True,
    experts_as_one=True,
    experts_by_owner=True,
    maps_of=MAPS,
    optional="model.",
    renames=MappingProxyType({".attn.qkv": ".attn.qkv_proj"}),
)

_modelopt = partial(
    _reading,
    Style.COMPONENTS,
    built_style=Style.STARS,
    merged_by_parts=True,
    fuses=True,
    maps_of=MAPS,
    sheds="language_model.",
    nameless_heads=NAMELESS_HEADS,
)

#: Experts are asked for by one set of names, whatever their class calls projections.
_EXPERTS = MappingProxyType({".w1": ".gate_proj", ".w2": ".down_proj", ".w3": ".up_proj"})

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "compressed-tensors": _reading(
            Style.ENDING_OR_REGEX,
            ("ignore",),
            fuses=True,
            maps_names_only=True,
            maps_of=MAPS,
            declares=in_vllm_group,
            knows_parts=MappingProxyType({"qkv_proj": (*KNOWS_QKV, *NO_QKV), "gate_up_proj": KNOWS_GATE_UP}),
            whole_too=True,
            renames_of=MappingProxyType(dict.fromkeys(("Mixtral", "PhiMoE", "MiniMaxM2"), _EXPERTS)),
            scheme_of=vllm_entry,
            wants_targets=True,
            sizes_blocks=class_has_blocks,
        ),
        "quark": _reading(
            Style.EXACT_OR_REGEX,
            ("exclude",),
            fuses=True,
            maps_of=MAPS,
            experts_as_one=True,
            head_left_alone=True,
            knows_parts=MappingProxyType({"qkv_proj": (*KNOWS_QKV, *NO_QKV)}),
            whole_too=True,
            scheme_of=quark_scheme,
        ),
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "modelopt": _modelopt(("ignore",)),
        "modelopt/file-alone": _modelopt(("ignore", "quantization.exclude_modules")),
        "mxfp8": _FP8,
    }
)
