"""Which schemes transformers has for which kinds of layers, with compressed-tensors and Quark at work below it.

All rows of the first two formats were run on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.base import Demands
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence, Range
from ckptkit.engines.support import Answer, Support
from ckptkit.engines.transformers.classes import (
    KEPT_ROUTERS,
    KEPT_STACKS,
    LINEAR_ROUTERS,
    MERGED_EXPERTS,
    OTHER_EXPERTS,
    WITH_PLAN,
    WITH_STACKS,
    WITHOUT_GATE,
)

_HAS, _REFUSED, _SILENT = Answer.SUPPORTED, Answer.REFUSED, Answer.SILENT
_RUN = Evidence.RUN
_CT, _QUARK = ("compressed-tensors",), ("quark",)
#: The gates of shared experts are linear layers as others are.
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.GATE)
_KINDS = ("per-tensor", "per-channel", "per-block")
#: Experts of compressed-tensors are multiplied with their scales, and then put together.
_DECOMPRESSED = "integrations/compressed_tensors.py (DecompressExperts), conversion_mapping.py"
_FP8 = ("fp8", "fp8-block", "fp8-transformers")
_NO_PLAN = "AttributeError: 'NoneType' object has no attribute 'get', in update_tp_plan; fixed in 5.17"
#: Classes whose attention the library does not find the number of heads of.
_COMPOSITE = ("Gemma3ForConditionalGeneration", "Mistral3For", "Qwen2_5_VLFor")
#: Classes whose attention takes keys and values in the type that the scales of the cache give them.
_RECAST = ("LlavaFor", "Mistral3For", "Qwen2_5_VLFor")
#: What is stored under another name than in memory keeps its type, whatever module it belongs to.
_LOADING = "core_model_loading.py (dtype casting)"
_KEPT = "RuntimeError: expected m1 and m2 to have the same dtype; at the first request"
_MAT_A = "RuntimeError: Expected mat_a to be Float32, BFloat16 or Float16 matrix; at the first request"
#: What its own quantizer makes ``FP8Linear`` of.
_BUILT = (*_LINEAR, Layer.HEAD, Layer.TOWER)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_FINE = "integrations/finegrained_fp8.py (FP8Experts)"
_GROUPED = "huggingface/kernels-community, finegrained-fp8/torch-ext/finegrained_fp8/grouped.py at 1994f2b5"
_NO_BIASES = "AssertionError: FP8Experts does not support bias for now"
_OTHER_CALL = "TypeError: experts of this class are called otherwise than FP8Experts; at the first request"
_ROUTERS = "integrations/finegrained_fp8.py (replace_with_fp8_linear: type(module) is nn.Linear)"
_SIZES = "TypeError: moe_intermediate_size is a list of sizes, one for each layer"
_STATIC_EXPERTS = "NotImplementedError: grouped_mm experts dispatch does not support activation_scheme='static'"
_RAGGED_EXPERTS = "AssertionError: N and K of experts must be divisible by the block; at the first request"
#: Scales without an axis cannot be put together, and of two for gate and up the kernel wants one.
_WHOLE_EXPERTS = "RuntimeError: issues during automatic conversion of the weights, or an AssertionError of the kernel"
_AS_VALUES = "codes are taken for values; the scale is listed as unexpected"

SUPPORT: tuple[Support, ...] = (
    Support(_HAS, _LINEAR, _CT, _KINDS, how=_RUN),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        _CT,
        ("per-block",),
        architectures=MERGED_EXPERTS,
        split=True,
        how=_RUN,
        words="RuntimeError: We encountered some issues during automatic conversion of the weights",
    ),
    Support(_HAS, (Layer.EXPERT,), _CT, _KINDS, architectures=MERGED_EXPERTS, how=_RUN, where=_DECOMPRESSED),
    # Its experts are made linear layers, one for each.
    Support(
        _HAS, (Layer.EXPERT,), _CT, _KINDS, architectures=("Llama4For",), how=_RUN, where="quantizers/base.py (patches)"
    ),
    Support(_HAS, (Layer.HEAD,), _CT, _KINDS, how=_RUN),
    Support(
        _REFUSED,
        (Layer.ROUTER,),
        (*_CT, *_QUARK, *_FP8),
        architectures=KEPT_ROUTERS,
        how=_RUN,
        words=_KEPT,
        where=_LOADING,
    ),
    Support(
        _REFUSED, (Layer.STACK,), (*_CT, *_QUARK), architectures=KEPT_STACKS, how=_RUN, words=_MAT_A, where=_LOADING
    ),
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
    # Scales that are taken of each token while running: none is looked for.
    Support(_HAS, (Layer.KV_CACHE,), _CT, ("per-token",), how=_RUN),
    Support(
        _REFUSED,
        _LINEAR,
        _CT,
        others=("W4A16", "W8A16"),
        cut=True,
        how=_RUN,
        words="ValueError: tensor column shape must be divisble by the given group_size; at the first request",
    ),
    Support(_HAS, _LINEAR, _CT, others=("W4A16",), how=_RUN),
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
        architectures=MERGED_EXPERTS,
        how=_RUN,
        words=_MAT_A,
    ),
    Support(_HAS, (Layer.KV_CACHE,), _QUARK, ("per-tensor",), how=_RUN),
    Support(
        _REFUSED, tuple(Layer), _FP8, architectures=WITH_PLAN, versions=Range(until="5.17"), how=_RUN, words=_NO_PLAN
    ),
    # Run with 5.17.0, and with 5.16.1 for classes without a plan, their kernels replaced.
    Support(_HAS, (Layer.KV_CACHE,), _FP8, how=_RUN, words="scales are left out"),
    Support(_REFUSED, _EXPERTS, _FP8, architectures=("GptOss",), words=_NO_BIASES, where=_FINE),
    Support(_REFUSED, _EXPERTS, _FP8, architectures=OTHER_EXPERTS, words=_OTHER_CALL, where=_FINE),
    Support(_REFUSED, _EXPERTS, _FP8, architectures=("HunYuanMoEV1",), how=_RUN, words=_SIZES, where=_FINE),
    Support(_REFUSED, _EXPERTS, _FP8, inputs=("static per-tensor",), how=_RUN, words=_STATIC_EXPERTS),
    Support(_REFUSED, _EXPERTS, ("fp8-block",), ("per-block",), ragged=True, words=_RAGGED_EXPERTS, where=_GROUPED),
    Support(_HAS, (Layer.EXPERT,), ("fp8-block",), ("per-block",), architectures=(*MERGED_EXPERTS, "Phimoe"), how=_RUN),
    Support(_HAS, (Layer.STACK,), ("fp8-block",), ("per-block",), architectures=WITH_STACKS, how=_RUN),
    Support(Answer.UNKNOWN, (Layer.EXPERT,), ("fp8", "fp8-transformers"), architectures=WITHOUT_GATE, where=_GROUPED),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        ("fp8", "fp8-transformers"),
        ("per-tensor",),
        how=_RUN,
        words=_WHOLE_EXPERTS,
        where=_GROUPED,
    ),
    Support(_HAS, (Layer.ROUTER,), ("fp8-block", "fp8-transformers"), architectures=LINEAR_ROUTERS, where=_ROUTERS),
    Support(_SILENT, (Layer.ROUTER,), _FP8, how=_RUN, words=_AS_VALUES),
    Support(_HAS, _BUILT, ("fp8-block",), ("per-block",), how=_RUN),
    Support(_HAS, _BUILT, ("fp8-transformers",), ("per-tensor",), how=_RUN),
    Support(_SILENT, _BUILT, ("fp8",), how=_RUN, words=_AS_VALUES),
)

#: ``CompressedTensorsConfig`` makes no config of the library where both are empty, and asks for one all the same:
#: ``'NoneType' object has no attribute 'config_groups'`` (utils/quantization_config.py, run with 5.16.1).
DEMANDS: Mapping[str, tuple[Demands, ...]] = MappingProxyType(
    {"compressed-tensors": (Demands(some=("config_groups", "kv_cache_scheme")),)}
)
