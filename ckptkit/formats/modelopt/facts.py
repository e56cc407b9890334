"""What ModelOpt checkpoints are like, as data.

Source: real exports, and vLLM (``quantization/modelopt.py``) at the release that ``ckptkit.engines`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ckptkit.formats import layouts
from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames, SkipList
from ckptkit.formats.keys import EACH, ConfigKeys
from ckptkit.model.census import Role
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, OtherScheme, Quantization, ScaleLevel, Scheme
from ckptkit.model.select import PatternKind

NAME = "modelopt"
#: What readers take for it in a config.
METHODS = frozenset({NAME, "modelopt-fp8"})
SIDE_FILE = "hf_quant_config.json"
#: The section of a config in the exporter's own layout.
NESTED = "quantization"
#: The algorithm of a checkpoint whose modules have algorithms of their own.
MIXED = "MIXED_PRECISION"

ROLES = MappingProxyType(
    {
        "weight_scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
    }
)
#: Ends of names -> what they are to a module in another quantization than FP8.
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "weight": Part.WEIGHT,
        "weight_scale": Part.SCALE,
        "weight_scale_2": Part.SECOND_SCALE,
        "input_scale": Part.INPUT_SCALE,
    }
)

#: Algorithm -> the scheme, for the FP8 ones that vLLM has. The inputs of blocks are quantized while running, although
#: ModelOpt's own name for them says "weight only".
SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "FP8": Scheme(Quantization(PerTensor()), Quantization(PerTensor())),
        "FP8_PER_CHANNEL_PER_TOKEN": Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True)),
        "FP8_PB_WO": Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True)),
    }
)
_NVFP4 = Quantization(PerGroup(16), dtype="F4", scale_dtype="F8_E4M3", second=ScaleLevel(PerTensor(), "F32"))
#: How groups and the KV cache say FP8 in config.json.
FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}
#: Algorithm -> what is known of one that is not FP8 with one scale.
OTHERS: Mapping[str, OtherScheme] = MappingProxyType(
    {
        "NVFP4": OtherScheme("NVFP4", "modelopt-nvfp4", 4, _NVFP4, Quantization(PerTensor())),
        "W4A16_NVFP4": OtherScheme("NVFP4A16", "modelopt-nvfp4", 4, _NVFP4),
        "NVFP4_AWQ": OtherScheme("NVFP4 AWQ", "modelopt-nvfp4-awq", 4),
        "MXFP8": layouts.MXFP8,
        "W4A8_AWQ": OtherScheme("W4A8 AWQ", "modelopt-w4a8-awq", 4),
        "W4A16_AWQ": OtherScheme("W4A16 AWQ", "modelopt-w4a16-awq", 4),
        "W4A8_NVFP4_FP8": OtherScheme("W4A8 NVFP4", "modelopt-w4a8-nvfp4-fp8", 4),
        "W4A8_MXFP4_FP8": OtherScheme("W4A8 MXFP4", "modelopt-w4a8-mxfp4-fp8", 4),
        "W8A16": OtherScheme("W8A16", "modelopt-w8a16", 8),
        "W8A8_SQ_PER_CHANNEL": OtherScheme("W8A8 INT8", "modelopt-w8a8-sq", 8),
        "INT8": OtherScheme("W8A8 INT8", "modelopt-int8", 8),
    }
)

CAPABILITIES = Capabilities(
    schemes=frozenset((type(s.weight.granularity), InputKind.of(s.input)) for s in SCHEMES.values()),
    kv_roles=frozenset({"k", "v"}),
    kv_granularities=frozenset({PerTensor}),
    mixed_schemes=True,
    quantized_lm_head=True,
    block_sizes=frozenset({(128, 128)}),
    scale_dtypes=frozenset({"F32", "BF16", "F16"}),
    groups_match_blocks=True,
    whole_columns=True,
    other_storages=frozenset(scheme.storage for scheme in OTHERS.values()),
)
DIALECT = Dialect(
    format=NAME,
    name="ModelOpt",
    key=NAME,
    mode=NAME,
    capabilities=CAPABILITIES,
    skip_list=SkipList(("ignore", "exclude_modules"), ("ignore",), PatternKind.SUBSTRING),
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale", ("input_scale",)),
    attention=MappingProxyType(
        {
            "k": ScaleNames("k_proj.k_scale", ("k_proj.k_scale", "k_scale")),
            "v": ScaleNames("v_proj.v_scale", ("v_proj.v_scale", "v_scale")),
        }
    ),
    endings=ROLES,
    parts=PARTS,
    schema=NAME,
    keys=ConfigKeys(
        kv_cache="kv_cache_scheme",
        algorithm="quant_algo",
        nested=NESTED,
        producer="producer",
        any_case=(
            ("quant_method",),
            *(("config_groups", EACH, EACH, word) for word in ("type", "strategy")),
            *(("kv_cache_scheme", word) for word in ("type", "strategy")),
        ),
        sections=MappingProxyType({"kv_cache_scheme": ("kv-cache", "kv-cache")}),
    ),
    side_files=(SIDE_FILE,),
    kv_floor=1.0,
    tool="NVIDIA ModelOpt",
    tag=NAME,
)
#: The exporter's own layout, a section of config.json.
OWN_LAYOUT = replace(
    DIALECT,
    name="ModelOpt, in its own layout",
    key=f"{NAME}/own-layout",
    mode=None,
    capabilities=None,
    skip_list=SkipList(("exclude_modules", "ignore"), ("exclude_modules",), DIALECT.skip_list.patterns),
    keys=replace(DIALECT.keys, kv_cache="kv_cache_quant_algo"),
)
#: What counts around that section: a list.
LIST_AROUND = replace(DIALECT, keys=ConfigKeys())
#: The same where config.json says nothing, and the exporter's own file all.
FILE_ALONE = replace(OWN_LAYOUT, name=f"ModelOpt, in {SIDE_FILE} alone", key=f"{NAME}/file-alone")
