"""What plain ``fp8`` checkpoints are like: three ways to spell them, as data.

Source: vLLM (``quantization/fp8.py``), transformers (``FineGrainedFP8Config``), at the releases that
``ckptkit.engines`` names, and AutoFP8. Of DeepSeek-V4: the names, dtypes and shapes of all 145,116 tensors of
deepseek-ai/DeepSeek-V4-Pro and its config.json as they are listed in public, and vLLM's ``models/deepseek_v4``.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.formats.dialect import Capabilities, Dialect, ScaleNames
from ckptkit.formats.fp8_fields import SKIP_LIST
from ckptkit.formats.keys import ConfigKeys
from ckptkit.model import names
from ckptkit.model.census import Role
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import InputKind, OtherScheme, Quantization, ScaleLevel

NAME = "fp8"

#: Ends of names and roles, in every dialect: ``act_scale`` is AutoFP8's first word for the input scale, and
#: ``activation_scale`` is transformers'.
ROLES = MappingProxyType(
    {
        "weight_scale_inv": Role.WEIGHT_SCALE,
        "weight_scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "activation_scale": Role.INPUT_SCALE,
        "act_scale": Role.INPUT_SCALE,
        "output_scale": Role.OUTPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
        "kv_scale": Role.KV_SCALE,
        "prob_output_scale": Role.PROB_SCALE,
    }
)

#: What DeepSeek's own files call every scale, whichever weight it is beside.
BARE_SCALE = "scale"
#: Experts of four bits beside FP8 layers: DeepSeek-V4's own, and those that NVIDIA makes of them.
MXFP4 = OtherScheme("MXFP4", "mxfp4 experts", 4, Quantization(PerGroup(32), dtype="F4", scale_dtype="F8_E8M0"))
NVFP4 = OtherScheme(
    "NVFP4",
    "nvfp4 experts",
    4,
    Quantization(PerGroup(16), dtype="F4", scale_dtype="F8_E4M3", second=ScaleLevel(PerTensor(), "F32")),
    Quantization(PerTensor()),
)
#: Classes whose experts are taken for ones of four bits where nothing is announced.
PACKED_UNLESS_SAID = ("DeepseekV4",)
#: Keys of the quantization config that speak of experts in another quantization.
EXPERT_KEYS = (names.EXPERT_DTYPE, "store_dtype", "moe_quant_algo")
PARTS = MappingProxyType(
    {
        "weight": Part.WEIGHT,
        "weight_scale_inv": Part.SCALE,
        "weight_scale": Part.SCALE,
        BARE_SCALE: Part.SCALE,
        "weight_scale_2": Part.SECOND_SCALE,
        "input_scale": Part.INPUT_SCALE,
    }
)

#: What transformers adds to the name of a stack of experts (``experts.gate_up_proj``) for its scale.
STACK_SCALES = ("_scale_inv",)

_ATTENTION = MappingProxyType(
    {
        "k": ScaleNames("k_scale", ("k_scale", "k_proj.output_scale", "k_proj.k_scale")),
        "v": ScaleNames("v_scale", ("v_scale", "v_proj.output_scale", "v_proj.v_scale")),
    }
)

_BLOCKS = Capabilities(
    schemes=frozenset({(PerBlock, InputKind(PerGroup, dynamic=True))}),
    kv_roles=frozenset({"k", "v", "q", "prob"}),
    kv_granularities=frozenset({PerTensor}),
    mixed_schemes=False,
    quantized_lm_head=False,
    block_sizes=None,
    scale_dtypes=frozenset({"F32", "BF16", "F16", "F8_E8M0"}),
    groups_match_blocks=True,
    stacked_experts=True,
    other_storages=frozenset({MXFP4.storage, NVFP4.storage}),
)
_TENSORS = replace(
    _BLOCKS,
    schemes=frozenset({(PerTensor, InputKind(PerTensor)), (PerTensor, InputKind(PerToken, dynamic=True))}),
    block_sizes=frozenset(),
    scale_dtypes=frozenset({"F32", "BF16", "F16"}),
    groups_match_blocks=False,
    stacked_experts=False,
    other_storages=frozenset(),
)

BLOCK = Dialect(
    format=NAME,
    name="block",
    key="fp8-block",
    mode="block",
    capabilities=_BLOCKS,
    skip_list=SKIP_LIST,
    weight_scale=ScaleNames("weight_scale_inv", ("weight_scale_inv",)),
    input_scale=ScaleNames("input_scale"),
    parts=PARTS,
    attention=_ATTENTION,
    endings=ROLES,
    schema=NAME,
    keys=ConfigKeys(
        kv_cache="kv_cache_scheme",
        inputs="activation_scheme",
        blocks="weight_block_size",
        dequantizes="dequantize",
        converted="modules_to_convert",
        exponents=(("scale_fmt",),),
        sections=MappingProxyType({"kv_cache_scheme": ("kv-cache", "kv-cache")}),
    ),
)
PER_TENSOR = replace(
    BLOCK,
    name="per tensor",
    key="fp8",
    mode="tensor",
    capabilities=_TENSORS,
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale", ("input_scale",), older=("act_scale",)),
)
#: The names that transformers gives to scales of whole tensors.
TRANSFORMERS = replace(
    BLOCK,
    name="per tensor, transformers' names",
    key="fp8-transformers",
    mode="transformers",
    capabilities=replace(_TENSORS, kv_roles=frozenset(), kv_granularities=frozenset()),
    input_scale=ScaleNames("activation_scale", ("activation_scale",)),
    loose_scales=True,  # it writes [1, 1] itself, Mistral's files have [], and it reads both
)
#: Where ``weight_block_size`` is no list, nobody can tell what a scale should be called: neither name is wrong.
UNCLEAR = replace(
    PER_TENSOR,
    mode=None,
    capabilities=None,
    weight_scale=ScaleNames("weight_scale", ("weight_scale", "weight_scale_inv")),
)
