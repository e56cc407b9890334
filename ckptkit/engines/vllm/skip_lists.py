"""How vLLM reads skip lists."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.skip_lists import Reading, Style
from ckptkit.engines.targets import in_vllm_group, vllm_entry

#: Experts are asked for by what their class calls projections, whatever is stored.
_OWN_PROJECTIONS = MappingProxyType({"Mixtral": {".gate_proj": ".w1", ".down_proj": ".w2", ".up_proj": ".w3"}})

#: Layers whose class passes on another prefix than that of the names which are stored (``models/falcon_h1.py``).
_OWN_NAMES = MappingProxyType(
    {
        "FalconH1": {
            **{f".mamba.{part}_proj": f".mixer.{part}_proj" for part in ("in", "out")},
            **{f".self_attn.{part}_proj": f".{part}_proj" for part in ("q", "k", "v", "o", "qkv")},
        }
    }
)

_FP8 = Reading(
    Style.EXACT,
    ("ignored_layers", "modules_to_not_convert"),
    fuses=True,
    experts_as_one=True,
    head_left_alone=True,
    whole_too=True,
    renames_of=_OWN_NAMES,
)

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "compressed-tensors": Reading(
            Style.EXACT_OR_REGEX,
            ("ignore",),
            fuses=True,
            declares=in_vllm_group,
            whole_too=True,
            renames_of=MappingProxyType({**_OWN_PROJECTIONS, **_OWN_NAMES}),
            scheme_of=vllm_entry,
        ),
        "quark": Reading(
            Style.EXACT_OR_REGEX,
            ("exclude",),
            fuses=True,
            experts_as_one=True,
            head_left_alone=True,
            whole_too=True,
            renames_of=_OWN_NAMES,
        ),
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "fbgemm": Reading(Style.EXACT, ("modules_to_not_convert",), fuses=True, head_left_alone=True),
        "modelopt": Reading(
            Style.SUBSTRING_OR_GLOB,
            ("ignore", "quantization.exclude_modules"),
            fuses=True,
            experts_as_one=True,
            experts_by_owner=True,
            whole_too=True,
            renames_of=_OWN_NAMES,
        ),
        "mxfp8": Reading(Style.SUBSTRING_OR_GLOB, ("ignored_layers",), fuses=True),
    }
)
