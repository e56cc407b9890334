"""Which schemes SGLang has for which kinds of layers: its own choice of a scheme, before any weight is loaded.

Places are below ``sglang/srt/layers/quantization``.
"""

from __future__ import annotations

from ckptkit.engines.cache_places import Place
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence
from ckptkit.engines.sglang.cache import DROPS, NOT_ASKED
from ckptkit.engines.sglang.classes import (
    EXPERTS_ONE_BY_ONE,
    LLAMAS,
    PLAIN_HEADS,
    QUANTIZED_TOWERS,
    SKIP_WITH_A_WARNING,
    STAND_IN,
    STOP_AT_KV,
    STOP_AT_KV_OF_PROJECTIONS,
    STOP_AT_UNKNOWN,
    STOP_BELOW_EXPERTS,
    STOP_SOMEWHERE,
)
from ckptkit.engines.support import Answer, Support

_HAS, _REFUSED, _SILENT = Answer.SUPPORTED, Answer.REFUSED, Answer.SILENT
_RUN = Evidence.RUN
_CT, _QUARK, _FP8 = ("compressed-tensors",), ("quark",), ("fp8", "quark-fp8")
_LINEAR = (Layer.LINEAR, Layer.FUSED)
_TENSOR, _CHANNEL, _BLOCK, _GROUP = ("per-tensor",), ("per-channel",), ("per-block",), ("per-group",)
_PLAIN = ("per-tensor", "per-channel")
_STATIC, _NONE = ("static per-tensor",), ("none",)
_STATIC_TOKENS = ("static per-token",)
_DYNAMIC = ("dynamic per-token", "dynamic per-tensor", "dynamic per-group")
_BY_TENSOR = ("static per-tensor", "dynamic per-tensor")
_IN_CT = "compressed_tensors/compressed_tensors.py"
_IN_CT_MOE = "compressed_tensors/schemes/compressed_tensors_w8a8_fp8_moe.py"
_IN_QUARK = "quark/quark.py"
_IN_LLAMA = "models/llama.py (load_weights), below sglang/srt"
_FP8_KINDS = ("fp8", "quark-fp8", "fp8-block", "fp8-transformers")
_NO_CT = "NotImplementedError: No compressed-tensors compatible scheme was found."
_NO_MOE = "RuntimeError: Unsupported FusedMoe scheme"
_BLOCK_HEAD = (
    "NotImplementedError: Block-quantized lm_head is not supported; use channel or tensor weight scales for the head."
)

SUPPORT: tuple[Support, ...] = (
    Support(
        _REFUSED,
        (*_LINEAR, Layer.EXPERT),
        (*_FP8_KINDS, *_QUARK, "modelopt", "mxfp8"),
        architectures=("GraniteMoeHybridFor", "GPTJFor", "DeciLMFor"),
        how=_RUN,
        where="srt/models/granitemoehybrid.py, gpt_j.py, nemotron_nas.py (load_weights)",
        words="AttributeError: the quantization config has no attribute 'get_cache_scale'",
    ),
    Support(
        _REFUSED,
        _LINEAR,
        (),
        architectures=("ExaoneMoE", "ExaoneMoe"),
        how=_RUN,
        words="AttributeError: 'ExaoneMoeConfig' object has no attribute 'is_moe_layer'",
    ),
    Support(
        _SILENT,
        (Layer.KV_CACHE,),
        ("modelopt/own-layout",),
        stored=True,
        how=_RUN,
        where="modelopt_quant.py (from_config)",
        words="a section of config.json is made flat but for its cache, whose scales are dropped",
    ),
    *(
        Support(
            _SILENT,
            (Layer.KV_CACHE,),
            (*_CT, *_FP8_KINDS, "modelopt", *_QUARK),
            _TENSOR,
            architectures=classes,
            stored=True,
            places=(place,),
            how=_RUN,
            where="srt/models (load_weights), srt/layers/radix_attention.py",
            words=f"scales of keys and values below {place.value} are dropped: 1.0 is used",
        )
        for place, classes in DROPS.items()
    ),
    Support(
        Answer.UNKNOWN,
        (Layer.KV_CACHE,),
        (*_CT, *_FP8_KINDS, "modelopt", *_QUARK),
        _TENSOR,
        architectures=NOT_ASKED,
        stored=True,
        where="srt/models (load_weights)",
        words="whether the class loads scales of keys and values is not known",
    ),
    Support(
        _SILENT,
        (*_LINEAR, Layer.EXPERT, Layer.HEAD),
        ("modelopt/file-alone",),
        ("per-channel", "per-block"),
        how=_RUN,
        where="srt/configs/model_config.py (_parse_modelopt_quant_config)",
        words="in a file alone no algorithm but FP8, FP4 and MXFP8 is known: codes are taken for values",
    ),
    Support(
        _REFUSED,
        (*_LINEAR, Layer.HEAD),
        _CT,
        architectures=(STAND_IN, "MistralModel"),
        how=_RUN,
        where="srt/models/transformers.py (hf_to_sglang_mapper)",
        words="ValueError: Unable to find matching target for ...: targets are mapped as stored names are",
    ),
    Support(
        _HAS, _LINEAR, ("fp8-transformers",), _TENSOR, architectures=(STAND_IN,), where="srt/models/transformers.py"
    ),
    Support(_HAS, _LINEAR, _CT, _PLAIN, (*_STATIC, *_DYNAMIC, *_NONE), where=_IN_CT),
    Support(_HAS, _LINEAR, _CT, _BLOCK, _DYNAMIC, where=_IN_CT),
    Support(_REFUSED, _LINEAR, _CT, _BLOCK, _NONE, where=_IN_CT, words=_NO_CT),
    Support(_REFUSED, _LINEAR, _CT, _GROUP, where=_IN_CT, words=_NO_CT),
    Support(_HAS, (Layer.EXPERT,), _CT, _TENSOR, _BY_TENSOR, where=_IN_CT_MOE),
    Support(_HAS, (Layer.EXPERT,), _CT, _CHANNEL, ("dynamic per-token",), where=_IN_CT_MOE),
    Support(_HAS, (Layer.EXPERT,), _CT, _BLOCK, _DYNAMIC, where=_IN_CT_MOE),
    Support(_REFUSED, (Layer.EXPERT,), _CT, (), _NONE, where=_IN_CT, words=_NO_MOE),
    Support(
        _REFUSED, (Layer.EXPERT,), _CT, _PLAIN, where=_IN_CT_MOE, words="AssertionError, or ValueError: we require ..."
    ),
    Support(
        _SILENT,
        (Layer.HEAD,),
        (*_CT, "modelopt"),
        architectures=PLAIN_HEADS,
        where="srt/models",
        words="the head is built without a scheme",
    ),
    Support(_HAS, (Layer.HEAD,), _CT, _PLAIN, (*_STATIC, *_DYNAMIC, *_NONE), where=_IN_CT),
    Support(_REFUSED, (Layer.HEAD,), _CT, _BLOCK, where=_IN_CT, words=_BLOCK_HEAD),
    Support(
        _REFUSED,
        (Layer.KV_CACHE,),
        (*_CT, *_FP8),
        architectures=STOP_AT_KV,
        stored=True,
        places=(Place.ATTENTION, Place.PROJECTION, Place.OUTPUT, Place.MERGED),
        how=_RUN,
        words="KeyError: '...self_attn.k_scale'",
    ),
    Support(_HAS, (Layer.KV_CACHE,), _CT, ("per-tensor", "per-head"), how=_RUN),
    Support(_SILENT, (Layer.EMBEDDING,), (*_CT, *_QUARK), how=_RUN, words="codes are taken for values"),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), _CT, others=("NVFP4",), where=_IN_CT),
    Support(_HAS, _LINEAR, _CT, others=("NVFP4A16", "W8A8 INT8"), how=_RUN, where=_IN_CT),
    Support(
        _REFUSED,
        _LINEAR,
        _CT,
        others=("W4A16",),
        cut=True,
        how=_RUN,
        where="compressed_tensors/schemes/compressed_tensors_wNa16.py (create_weights)",
        words="AssertionError: inputs are no whole number of groups",
    ),
    Support(_HAS, _LINEAR, _CT, others=("W4A16",), how=_RUN, where=_IN_CT),
    Support(_REFUSED, _LINEAR, _CT, others=("MXFP8",), how=_RUN, where=_IN_CT, words=_NO_CT),
    Support(
        _REFUSED,
        (Layer.ROUTER, Layer.GATE),
        architectures=STOP_AT_UNKNOWN,
        formats=(*_CT, *_QUARK, *_FP8_KINDS, "modelopt"),
        how=_RUN,
        words="KeyError: '...weight_scale': routers are built plain",
    ),
    Support(_SILENT, (Layer.ROUTER, Layer.GATE), (*_CT, *_QUARK), how=_RUN, words="routers are built plain"),
    Support(_HAS, (Layer.TOWER,), (*_CT, *_QUARK), _PLAIN, architectures=QUANTIZED_TOWERS, how=_RUN),
    Support(
        _HAS,
        (Layer.TOWER,),
        (*_CT, *_QUARK),
        architectures=(*LLAMAS, *EXPERTS_ONE_BY_ONE),
        how=_RUN,
        words="the class has no tower, and skips its tensors",
    ),
    Support(
        _SILENT,
        _LINEAR,
        _QUARK,
        _BLOCK,
        how=_RUN,
        where="quark/quark.py (_get_block_fp8_config)",
        words="the layer has weight_scale_inv, and Quark stores weight_scale: it is skipped",
    ),
    Support(
        _REFUSED,
        (*_LINEAR, Layer.EXPERT),
        _QUARK,
        (),
        _STATIC_TOKENS,
        how=_RUN,
        words="NotImplementedError: No quark compatible scheme was found.",
    ),
    Support(_HAS, _LINEAR, _QUARK, _PLAIN, (*_STATIC, *_DYNAMIC), where=_IN_QUARK),
    Support(
        _REFUSED,
        _LINEAR,
        _QUARK,
        (),
        _NONE,
        how=_RUN,
        where=_IN_QUARK,
        words="NotImplementedError: No quark compatible scheme was found.",
    ),
    Support(
        _HAS,
        (Layer.EXPERT,),
        _QUARK,
        _PLAIN,
        (*_STATIC, "dynamic per-tensor", "dynamic per-token"),
        how=_RUN,
        where="quark/schemes/quark_w8a8_fp8_moe.py",
    ),
    Support(_REFUSED, (Layer.EXPERT,), _QUARK, (), _NONE, where=_IN_QUARK, words=_NO_MOE),
    Support(_SILENT, (Layer.HEAD,), _QUARK, where=_IN_QUARK, words="the head is built without a scheme"),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), _FP8, _TENSOR, (*_STATIC, *_DYNAMIC), where="fp8.py"),
    Support(
        _SILENT,
        _LINEAR,
        ("fp8-block",),
        _BLOCK,
        architectures=LLAMAS,
        where=_IN_LLAMA,
        words="scales of blocks are renamed to weight_scale, which no parameter has: they stay unset, with a warning",
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("fp8-block",), _BLOCK, ("dynamic per-group",), where="fp8.py"),
    Support(_HAS, (Layer.EXPERT,), ("fp8-block",), architectures=("DeepseekV4",), others=("MXFP4",), where="fp8.py"),
    Support(
        _SILENT,
        _LINEAR,
        ("mxfp8",),
        architectures=LLAMAS,
        others=("MXFP8",),
        where=_IN_LLAMA,
        words="scales of groups are renamed to weight_scale, which no parameter has: they stay unset, with a warning",
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("mxfp8",), others=("MXFP8",), where="fp8.py"),
    Support(
        _HAS,
        _LINEAR,
        ("fp8-transformers",),
        _TENSOR,
        (*_STATIC, *_DYNAMIC),
        architectures=LLAMAS,
        where=_IN_LLAMA,
    ),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        ("fp8-transformers",),
        architectures=STOP_BELOW_EXPERTS,
        how=_RUN,
        words="KeyError: '...experts.w2_...'",
    ),
    Support(
        _HAS,
        (Layer.STACK,),
        _CT,
        _CHANNEL,
        ("dynamic per-token",),
        architectures=("GraniteMoeHybridFor",),
        how=_RUN,
        where="srt/models/granitemoehybrid.py (load_weights)",
    ),
    Support(
        _SILENT,
        (Layer.STACK,),
        architectures=("GraniteMoeForCausalLM", "GraniteMoeSharedFor", "GraniteMoeSWAFor"),
        formats=(*_CT, *_FP8_KINDS, *_QUARK, "modelopt"),
        how=_RUN,
        where="srt/models/granitemoe.py (load_weights)",
        words="stacked weights are taken apart, and their scales are skipped: they stay as they were allocated",
    ),
    Support(
        _REFUSED,
        (*_LINEAR, Layer.EXPERT),
        ("fp8-transformers",),
        architectures=STOP_SOMEWHERE,
        how=_RUN,
        words="KeyError: '...weight_scale_inv'",
    ),
    Support(
        _SILENT,
        (*_LINEAR, Layer.EXPERT),
        ("fp8-transformers",),
        how=_RUN,
        words="scales of these names are skipped, and stay as they were allocated",
    ),
    Support(
        _SILENT,
        (Layer.HEAD, Layer.EMBEDDING),
        _FP8_KINDS,
        architectures=SKIP_WITH_A_WARNING,
        where="fp8.py (get_quant_method)",
        words="they are built without a scheme: codes are taken for values",
    ),
    Support(
        _SILENT,
        (Layer.ROUTER, Layer.GATE),
        (*_FP8_KINDS, "modelopt"),
        where="models (quant_config=None), below sglang/srt",
        words="routers are built plain",
    ),
    Support(_HAS, (Layer.KV_CACHE,), _FP8, _TENSOR, where="fp8.py"),
    Support(
        _REFUSED,
        (Layer.KV_CACHE,),
        ("modelopt", *_QUARK),
        architectures=STOP_AT_KV_OF_PROJECTIONS,
        stored=True,
        places=(Place.PROJECTION, Place.OUTPUT, Place.MERGED),
        how=_RUN,
        words="KeyError: '...self_attn.qkv_proj...'",
    ),
    Support(_HAS, (Layer.KV_CACHE,), _QUARK, _TENSOR, where=_IN_QUARK),
    Support(_HAS, (Layer.KV_CACHE,), ("modelopt",), _TENSOR, how=_RUN),
    Support(
        _REFUSED,
        _LINEAR,
        ("modelopt",),
        _BLOCK,
        how=_RUN,
        words="ValueError: ModelOptFp8Config only supports regular FP8 quantization",
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("modelopt",), _TENSOR, _STATIC, how=_RUN, where="modelopt_quant.py"),
    Support(_HAS, (Layer.HEAD,), ("modelopt",), _TENSOR, _STATIC, how=_RUN),
    Support(
        _SILENT,
        (Layer.EMBEDDING,),
        ("modelopt",),
        architectures=SKIP_WITH_A_WARNING,
        where="modelopt_quant.py (_get_quant_method)",
        words="they are built without a scheme: codes are taken for values",
    ),
    Support(_HAS, _LINEAR, ("modelopt",), others=("NVFP4",), how=_RUN, where="modelopt_quant.py"),
    Support(_HAS, (Layer.HEAD,), ("modelopt",), others=("NVFP4",), where="modelopt_quant.py (_get_quant_method)"),
    Support(
        _SILENT,
        _LINEAR,
        ("modelopt",),
        others=("MXFP8",),
        how=_RUN,
        words="the layer has weight_scale_inv, and ModelOpt stores weight_scale: it is skipped",
    ),
    Support(_REFUSED, (*_LINEAR, Layer.EXPERT), ("modelopt",), _CHANNEL, how=_RUN, words="ValueError"),
)
