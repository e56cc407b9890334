"""Which schemes transformers has for which kinds of layers, with compressed-tensors and Quark at work below it.

All rows of the first two formats were run on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.base import Demands, Evidence, Range
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer, Support

_HAS, _REFUSED, _SILENT = Answer.SUPPORTED, Answer.REFUSED, Answer.SILENT
_RUN = Evidence.RUN
_CT, _QUARK = ("compressed-tensors",), ("quark",)
#: The gates of shared experts are linear layers as others are.
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.GATE)
_KINDS = ("per-tensor", "per-channel", "per-block")
#: Classes for which single experts are put together while a compressed-tensors checkpoint is loaded.
_EXPERTS = ("Qwen3MoeFor", "Qwen2MoeFor", "MixtralFor", "DeepseekV2For", "DeepseekV3For", "OlmoeFor", "Glm4MoeFor")
#: Further ones, of which scales by row alone were tried.
_EXPERTS_BY_ROW = ("Ernie4_5_MoeFor", "MiniMaxM2For", "Qwen3NextFor", "Qwen3_5MoeFor", "Dots1For")
_FP8 = ("fp8", "fp8-block", "fp8-transformers")
_NO_PLAN = "AttributeError: 'NoneType' object has no attribute 'get', in update_tp_plan; fixed in 5.17"
#: Classes whose config has its parallel plan in a part, where 5.16 does not look for it.
_COMPOSITE = ("Gemma3ForConditionalGeneration", "Mistral3For", "Qwen2_5_VLFor")
#: Those of which that was seen with plain FP8.
_NO_PLAN_ASKED = (*_COMPOSITE, "LlavaFor")
#: Classes whose attention takes keys and values in the type that the scales of the cache give them.
_RECAST = ("LlavaFor", "Mistral3For", "Qwen2_5_VLFor")
_AS_VALUES = "codes are taken for values; the scale is listed as unexpected"

SUPPORT: tuple[Support, ...] = (
    Support(_HAS, _LINEAR, _CT, _KINDS, how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _CT, ("per-tensor", "per-channel"), architectures=_EXPERTS, how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _CT, ("per-channel",), architectures=_EXPERTS_BY_ROW, how=_RUN),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        _CT,
        ("per-block",),
        architectures=_EXPERTS,
        how=_RUN,
        words="RuntimeError: We encountered some issues during automatic conversion of the weights",
    ),
    Support(_HAS, (Layer.HEAD,), _CT, _KINDS, how=_RUN),
    Support(_SILENT, (Layer.EMBEDDING, Layer.ROUTER), (*_CT, *_QUARK), how=_RUN, words=_AS_VALUES),
    Support(_HAS, (Layer.TOWER,), (*_CT, *_QUARK), _KINDS, how=_RUN),
    Support(
        _REFUSED,
        (Layer.KV_CACHE,),
        _CT,
        architectures=_COMPOSITE,
        versions=Range(until="0.18", of="compressed-tensors"),
        how=_RUN,
        words="ValueError: Cannot determine num_attention_heads from config",
    ),
    Support(
        _REFUSED,
        (Layer.KV_CACHE,),
        _CT,
        architectures=_RECAST,
        recast=True,
        how=_RUN,
        words="RuntimeError: Expected query, key, and value to have the same dtype; at the first request",
    ),
    Support(_HAS, (Layer.KV_CACHE,), _CT, ("per-tensor", "per-head"), how=_RUN),
    Support(_HAS, _LINEAR, _CT, others=("NVFP4", "NVFP4A16", "W8A8 INT8", "MXFP8"), how=_RUN),
    Support(
        _REFUSED,
        tuple(Layer),
        _QUARK,
        (),
        ("static per-token",),
        how=_RUN,
        words="AssertionError: Reloading ... with the input static quantized per channel or per group is not supported",
    ),
    Support(_HAS, (*_LINEAR, Layer.HEAD), _QUARK, _KINDS, how=_RUN),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        _QUARK,
        architectures=("Qwen3MoeFor", "Qwen2MoeFor", "DeepseekV3For", "MixtralFor"),
        how=_RUN,
        words="RuntimeError: Expected mat_a to be Float32, BFloat16 or Float16 matrix; at the first request",
    ),
    Support(_HAS, (Layer.KV_CACHE,), _QUARK, ("per-tensor",), how=_RUN),
    Support(_HAS, _LINEAR, ("fp8-block", "fp8-transformers"), architectures=_NO_PLAN_ASKED, how=_RUN),
    Support(_SILENT, _LINEAR, ("fp8",), architectures=_NO_PLAN_ASKED, how=_RUN, words=_AS_VALUES),
    Support(_HAS, (Layer.KV_CACHE,), _FP8, architectures=_NO_PLAN_ASKED, how=_RUN, words="scales are left out"),
    Support(_REFUSED, tuple(Layer), _FP8, versions=Range(until="5.17"), how=_RUN, words=_NO_PLAN),
    # Run with 5.17.0, its kernels replaced.
    Support(_HAS, (Layer.KV_CACHE,), _FP8, how=_RUN, words="scales are left out"),
    Support(_HAS, (Layer.EXPERT,), ("fp8-block",), ("per-block",), architectures=("Qwen3MoeFor",), how=_RUN),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        ("fp8-transformers",),
        ("per-tensor",),
        architectures=("Qwen3MoeFor", "MixtralFor"),
        how=_RUN,
        words="RuntimeError: We encountered some issues during automatic conversion of the weights",
    ),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        ("fp8",),
        inputs=("static per-tensor",),
        how=_RUN,
        words="NotImplementedError: grouped_mm experts dispatch does not support activation_scheme='static'",
    ),
    Support(_HAS, _LINEAR, ("fp8-block",), ("per-block",), how=_RUN),
    Support(_HAS, _LINEAR, ("fp8-transformers",), ("per-tensor",), how=_RUN),
    Support(_SILENT, _LINEAR, ("fp8",), how=_RUN, words=_AS_VALUES),
)

#: ``CompressedTensorsConfig`` makes no config of the library where both are empty, and asks for one all the same:
#: ``'NoneType' object has no attribute 'config_groups'`` (utils/quantization_config.py, run with 5.16.1).
DEMANDS: Mapping[str, tuple[Demands, ...]] = MappingProxyType(
    {"compressed-tensors": (Demands(some=("config_groups", "kv_cache_scheme")),)}
)
