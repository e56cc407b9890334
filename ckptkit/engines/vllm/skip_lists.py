"""How vLLM reads skip lists."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.matchers import Style
from ckptkit.engines.name_maps import NameMap
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.targets import in_vllm_group, vllm_entry

#: Experts are asked for by what their class calls projections, whatever is stored.
_OWN_PROJECTIONS = MappingProxyType({"Mixtral": {".gate_proj": ".w1", ".down_proj": ".w2", ".up_proj": ".w3"}})

_OUTSIDE_ATTENTION = {f".self_attn.{part}_proj": f".{part}_proj" for part in ("q", "k", "v", "o", "qkv")}
#: Layers whose class passes on another prefix than that of the names which are stored, or are mapped to
#: (``models/falcon_h1.py``, ``jamba.py``, ``granitemoehybrid.py``).
_OWN_NAMES = MappingProxyType(
    {
        "FalconH1": {
            **{f".mamba.{part}_proj": f".mixer.{part}_proj" for part in ("in", "out")},
            **_OUTSIDE_ATTENTION,
        },
        "Jamba": {f".mamba.{part}_proj": f".mixer.{part}_proj" for part in ("in", "out", "x", "dt")},
        "GraniteMoeHybrid": {f".mamba.{part}_proj": f".mixer.{part}_proj" for part in ("in", "out")},
    }
)

_TEXT = MappingProxyType({"model.language_model.": "language_model.model.", "lm_head.": "language_model.lm_head."})
_VISUAL = MappingProxyType({"model.visual.": "visual.", **_TEXT})
_TOWER = MappingProxyType(
    {f"model.{part}.": f"{part}." for part in ("vision_tower", "multi_modal_projector")} | dict(_TEXT)
)
_LAST = MappingProxyType({"model.": "language_model.model."})

#: Classes that map names, entries of lists and targets to their own (``hf_to_vllm_mapper``), of those with state
#: spaces or linear attention, and of the usual ones with towers.
_MAPS = MappingProxyType(
    {
        "NemotronH": NameMap({"embeddings": "embed_tokens"}, {"backbone": "model"}),
        "Lfm2Vl": NameMap({".conv.": ".short_conv."}, _TOWER),
        "Lfm2": NameMap({".conv.": ".short_conv."}),
        "Jamba": NameMap({".self_attn.": "."}),
        "BailingMoeV3For": NameMap({".attention.": ".self_attn."}),
        "PhimoeFor": NameMap({".block_sparse_moe.gate": ".mlp.router", ".block_sparse_moe.": ".mlp."}),
        "GptOss": NameMap({".self_attn.": ".attn."}),
        **dict.fromkeys(("Qwen2VLFor", "Qwen2_5_VLFor"), NameMap(begins=MappingProxyType({**_VISUAL, **_LAST}))),
        **dict.fromkeys(
            ("Qwen3VLFor", "Qwen3VLMoeFor", "Qwen3_5ForCond", "Qwen3_5MoeForCond", "Glm4vFor", "Glm4vMoeFor"),
            NameMap(begins=_VISUAL),
        ),
        **dict.fromkeys(("LlavaFor", "LlavaNextFor", "Gemma3ForCond"), NameMap(begins=_TOWER)),
        "Mistral3For": NameMap(begins=MappingProxyType({**_TOWER, **_LAST})),
    }
)

#: Mixers that their classes build without the quantization config (``models/jamba.py``, ``mamba.py``).
_PLAIN = MappingProxyType({"Jamba": (".mamba.",), **dict.fromkeys(("MambaFor", "FalconMambaFor"), (".mixer.",))})
#: Mixers that their class numbers on from the last layer: that of layer 0 of two is model.2.mixer (``falcon_h1.py``).
_NUMBERED_ON = MappingProxyType({"FalconH1": ("mamba", "mixer")})
_reading = partial(Reading, maps_of=_MAPS, plain_of=_PLAIN, numbered_on=_NUMBERED_ON)
_FP8 = _reading(
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
        "compressed-tensors": _reading(
            Style.EXACT_OR_REGEX,
            ("ignore",),
            fuses=True,
            maps_names_only=True,
            declares=in_vllm_group,
            whole_too=True,
            renames_of=MappingProxyType({**_OWN_PROJECTIONS, **_OWN_NAMES}),
            scheme_of=vllm_entry,
        ),
        "quark": _reading(
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
        "modelopt": _reading(
            Style.SUBSTRING_OR_GLOB,
            ("ignore", "quantization.exclude_modules"),
            fuses=True,
            experts_as_one=True,
            experts_by_owner=True,
            patterns_on_whole=True,
            splits_stars=True,
            plain_of=MappingProxyType({**_PLAIN, "": ("vision_tower", "vision_model", "vit_large_projector")}),
            renames_of=_OWN_NAMES,
        ),
        "mxfp8": Reading(Style.SUBSTRING_OR_GLOB, ("ignored_layers",), fuses=True),
    }
)
