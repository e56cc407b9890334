"""Which schemes vLLM has for which kinds of layers.

Places are below ``vllm/model_executor``. Rows marked as run were loaded here with the CPU wheel, as far as weights go:
kernels that exist on GPUs only are not part of it.
"""

from __future__ import annotations

from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence, Range
from ckptkit.engines.support import Answer, Support
from ckptkit.engines.vllm.classes import OWN_LISTS, QUANTIZED_ROUTERS, QUANTIZED_TOWERS, TOWERS_LEFT_ALONE

_HAS, _REFUSED = Answer.SUPPORTED, Answer.REFUSED
_RUN = Evidence.RUN
_CT, _QUARK, _FP8 = ("compressed-tensors",), ("quark",), ("fp8", "quark-fp8")
_LINEAR = (Layer.LINEAR, Layer.FUSED)
_TENSOR, _CHANNEL, _BLOCK, _GROUP = ("per-tensor",), ("per-channel",), ("per-block",), ("per-group",)
_PLAIN = ("per-tensor", "per-channel")
_STATIC, _NONE = ("static per-tensor",), ("none",)
_STATIC_TOKENS = ("static per-token",)
_DYNAMIC = ("dynamic per-token", "dynamic per-tensor", "dynamic per-group")
_BY_TENSOR = ("static per-tensor", "dynamic per-tensor")
_128 = ((128, 128),)
#: The days of pull requests 21337 and 30957: what came before them has none of it.
_SINCE_BLOCKS, _SINCE_MODELOPT = Range(since="2025-07-21"), Range(since="2025-12-18")

#: A head takes scales by rows of the vocabulary.
_HEAD_ROWS = "AssertionError without a message"
_NO_NAME = "ValueError: There is no module or parameter named ..."
_DEPRECATED = "ValidationError: fbgemm_fp8 is deprecated; --allow-deprecated-quantization loads it"
_NO_CT = "NotImplementedError: No compressed-tensors compatible scheme was found for ..."
_NO_QUARK = "NotImplementedError: No quark compatible scheme was found."
_QUARK_MOE = (
    "ValueError: For FP8 Fused MoE layers, only per-tensor, per-channel and per-block scales for weights and "
    "activations are supported."
)
_PACKED_MOE = "ValueError: For Fused MoE layers, only format: pack-quantized ... is supported"
_IN_CT = "layers/quantization/compressed_tensors/compressed_tensors.py"
_IN_CT_MOE = "layers/quantization/compressed_tensors/compressed_tensors_moe"
_WNA16 = "layers/quantization/compressed_tensors/schemes/compressed_tensors_wNa16.py"
_IN_QUARK = "layers/quantization/quark/quark.py"
_IN_MODELOPT = "layers/quantization/modelopt.py"

_COMPRESSED_TENSORS = (
    Support(_HAS, _LINEAR, _CT, _PLAIN, (*_STATIC, *_DYNAMIC, *_NONE), how=_RUN),
    Support(_HAS, _LINEAR, _CT, _BLOCK, _DYNAMIC, versions=_SINCE_BLOCKS, how=_RUN),
    Support(
        _REFUSED, _LINEAR, _CT, _BLOCK, _NONE, how=_RUN, words="no kernel, or an AssertionError: blocks need inputs"
    ),
    Support(_REFUSED, _LINEAR, _CT, _GROUP, how=_RUN, words=_NO_CT),
    Support(_HAS, (Layer.EXPERT,), _CT, _TENSOR, _BY_TENSOR, how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _CT, _CHANNEL, ("dynamic per-token",), how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _CT, _BLOCK, _DYNAMIC, versions=_SINCE_BLOCKS, where=_IN_CT_MOE),
    Support(_REFUSED, (Layer.EXPERT,), _CT, _CHANNEL, _NONE, how=_RUN, words=_PACKED_MOE),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        _CT,
        _TENSOR,
        _NONE,
        how=_RUN,
        words="AttributeError: 'NoneType' object has no attribute 'num_bits'",
    ),
    Support(_REFUSED, (Layer.EXPERT,), _CT, _BLOCK, _NONE, where=_IN_CT_MOE, words="Unsupported FusedMoe scheme"),
    Support(_REFUSED, (Layer.EXPERT,), _CT, _PLAIN, how=_RUN, words="AssertionError without a message"),
    Support(_HAS, (Layer.HEAD,), _CT, _PLAIN, (*_STATIC, *_DYNAMIC, *_NONE), where=_IN_CT, how=_RUN),
    Support(_REFUSED, (Layer.HEAD,), _CT, _BLOCK, how=_RUN, words=_HEAD_ROWS),
    Support(_REFUSED, (Layer.EMBEDDING,), _CT, how=_RUN, words=_NO_NAME),
    Support(_HAS, (Layer.KV_CACHE,), _CT, ("per-tensor", "per-head"), how=_RUN),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), _CT, others=("NVFP4",), where=_IN_CT),
    Support(_HAS, _LINEAR, _CT, others=("NVFP4A16",), where=f"{_IN_CT} (_get_scheme_from_parts)"),
    Support(
        _REFUSED,
        _LINEAR,
        _CT,
        others=("W4A16",),
        cut=True,
        where=f"{_WNA16} (verify_group_size_divides_partition)",
        words="inputs are no whole number of groups",
    ),
    Support(_HAS, _LINEAR, _CT, others=("W4A16",), how=_RUN, where=_WNA16),
    Support(_HAS, _LINEAR, _CT, others=("W8A8 INT8",), how=_RUN),
    Support(_HAS, _LINEAR, _CT, others=("MXFP8",), where=_IN_CT),
)

_QUARK_ROWS = (
    Support(_REFUSED, (*_LINEAR, Layer.EXPERT), _QUARK, (), _STATIC_TOKENS, how=_RUN, words=_NO_QUARK),
    Support(_HAS, _LINEAR, _QUARK, _PLAIN, (*_STATIC, *_DYNAMIC), how=_RUN),
    Support(_HAS, _LINEAR, _QUARK, _BLOCK, ("dynamic per-group",), _128, how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _QUARK, _TENSOR, (*_BY_TENSOR, "dynamic per-group"), how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _QUARK, _CHANNEL, ("dynamic per-token",), how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _QUARK, _BLOCK, ("dynamic per-group",), _128, where=_IN_QUARK),
    Support(_REFUSED, (*_LINEAR, Layer.EXPERT), _QUARK, (), _NONE, how=_RUN, words=_NO_QUARK),
    Support(_REFUSED, _LINEAR, _QUARK, (*_BLOCK, *_GROUP), where=_IN_QUARK, words=_NO_QUARK),
    Support(_REFUSED, (Layer.EXPERT,), _QUARK, _PLAIN, how=_RUN, words=_QUARK_MOE),
    Support(_REFUSED, (Layer.HEAD, Layer.EMBEDDING), _QUARK, how=_RUN, words=_NO_NAME),
    Support(_HAS, (Layer.KV_CACHE,), _QUARK, _TENSOR, how=_RUN),
    Support(
        _REFUSED,
        (Layer.KV_CACHE,),
        _QUARK,
        where=_IN_QUARK,
        words="NotImplementedError: Only support per-tensor scaling factor for quark KV cache.",
    ),
)

_PLAIN_FP8 = (
    Support(_HAS, _LINEAR, _FP8, _TENSOR, (*_STATIC, *_DYNAMIC), how=_RUN),
    Support(_HAS, (Layer.EXPERT,), _FP8, _TENSOR, (*_STATIC, *_DYNAMIC), where="layers/quantization/fp8.py"),
    Support(_REFUSED, (*_LINEAR, Layer.EXPERT), _FP8, (), _NONE, how=_RUN, words="Unsupported activation scheme"),
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("fp8-block",),
        _BLOCK,
        ("dynamic per-group",),
        where="layers/quantization/fp8.py",
    ),
    Support(
        _HAS,
        (Layer.EXPERT,),
        ("fp8-block",),
        architectures=OWN_LISTS,
        others=("MXFP4", "NVFP4"),
        where="models/deepseek_v4/quant_config.py, of the package itself",
    ),
    Support(_REFUSED, (Layer.HEAD, Layer.EMBEDDING), (*_FP8, "fp8-block"), how=_RUN, words=_NO_NAME),
    Support(_REFUSED, (Layer.EMBEDDING,), ("modelopt",), where=_IN_MODELOPT, words=_NO_NAME),
    Support(_HAS, (Layer.KV_CACHE,), (*_FP8, "fp8-block"), _TENSOR, how=_RUN),
    Support(
        _HAS,
        _LINEAR,
        ("fp8-transformers",),
        _TENSOR,
        architectures=("Mistral3For",),
        where="model_executor/models/mistral3.py",
    ),
    Support(_REFUSED, (*_LINEAR, Layer.EXPERT), ("fp8-transformers",), how=_RUN, words=_NO_NAME),
    Support(_REFUSED, tuple(Layer), ("fbgemm",), how=_RUN, words=_DEPRECATED),
)

_MODELOPT = (
    Support(_HAS, _LINEAR, ("modelopt",), _TENSOR, _STATIC, how=_RUN),
    Support(_HAS, _LINEAR, ("modelopt",), _CHANNEL, ("dynamic per-token",), versions=_SINCE_MODELOPT, how=_RUN),
    Support(_HAS, _LINEAR, ("modelopt",), _BLOCK, ("dynamic per-group",), _128, versions=_SINCE_MODELOPT, how=_RUN),
    Support(_HAS, (Layer.HEAD,), ("modelopt",), _PLAIN, (*_STATIC, "dynamic per-token"), how=_RUN),
    Support(_REFUSED, (Layer.HEAD,), ("modelopt",), _BLOCK, how=_RUN, words=_HEAD_ROWS),
    Support(_HAS, (Layer.EXPERT,), ("modelopt",), _TENSOR, _STATIC, how=_RUN),
    Support(
        _REFUSED,
        (Layer.EXPERT,),
        ("modelopt",),
        _CHANNEL,
        how=_RUN,
        words="RuntimeError: shape '[]' is invalid for input of size ...",
    ),
    Support(_HAS, (Layer.KV_CACHE,), ("modelopt",), _TENSOR, how=_RUN),
    Support(
        _HAS,
        (*_LINEAR, Layer.HEAD, Layer.EXPERT),
        ("modelopt",),
        others=("NVFP4", "NVFP4A16", "MXFP8"),
        where=_IN_MODELOPT,
    ),
)

_MXFP8 = (
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("mxfp8",),
        architectures=("MiniMaxM3",),
        others=("MXFP8",),
        where="models/minimax_m3, of the package itself",
    ),
    Support(
        Answer.UNKNOWN,
        (*_LINEAR, Layer.EXPERT),
        ("mxfp8",),
        others=("MXFP8",),
        where=_IN_MODELOPT,
        words="layers take weight_scale; weight_scale_inv has a place in MiniMax-M3 only",
    ),
)

_EVERY = (*_CT, *_QUARK, *_FP8, "fp8-block", "modelopt")
_BY_CLASS = (
    Support(
        _REFUSED,
        (Layer.STACK,),
        ("fp8-block",),
        architectures=("GptOss",),
        how=_RUN,
        words="RuntimeError: The size of tensor a (...) must match the size of tensor b (...)",
    ),
    # What a class makes of stacked experts is in its ``load_weights``.
    Support(
        _HAS, (Layer.STACK,), ("fp8-block",), architectures=("Qwen3NextFor",), where="models/qwen2_moe.py", how=_RUN
    ),
    Support(
        _HAS,
        (Layer.STACK,),
        _CT,
        _CHANNEL,
        architectures=("GraniteMoeHybrid",),
        where="models/granitemoehybrid.py",
        how=_RUN,
    ),
    Support(
        _REFUSED,
        (Layer.STACK,),
        _EVERY,
        architectures=("GraniteMoeFor",),
        where="models/granitemoe.py, which maps weights and no scales",
        how=_RUN,
        words=_NO_NAME,
    ),
    Support(
        _REFUSED,
        (Layer.STACK,),
        _EVERY,
        architectures=("DeepseekV2For", "DeepseekV3For"),
        where="models/deepseek_v2.py",
        how=_RUN,
        words="KeyError: 'layers.1.mlp.experts.down_proj'",
    ),
    Support(_HAS, (Layer.ROUTER,), (*_CT, *_QUARK), _PLAIN, architectures=QUANTIZED_ROUTERS, where="models", how=_RUN),
    Support(_REFUSED, (Layer.ROUTER, Layer.GATE), _EVERY, where="models", words=_NO_NAME),
    Support(_HAS, (Layer.TOWER,), (*_CT, *_QUARK), _PLAIN, architectures=QUANTIZED_TOWERS, where="models"),
    Support(
        _REFUSED,
        (Layer.TOWER,),
        _EVERY,
        architectures=TOWERS_LEFT_ALONE,
        where="models",
        words=_NO_NAME,
    ),
)

#: A class that vLLM has not, and leaves to transformers, whose layers with state spaces it cannot take over.
_STATE_SPACES = Support(
    _REFUSED,
    _LINEAR,
    (),
    architectures=("BambaFor",),
    how=_RUN,
    words="ValueError: Layer 0 (linear_attention) does not dispatch through the Transformers attention interface",
)

SUPPORT: tuple[Support, ...] = (
    Support(
        _REFUSED,
        _LINEAR,
        (),
        architectures=("ExaoneMoE", "ExaoneMoe"),
        versions=Range(until="0.32"),
        how=_RUN,
        words="AttributeError: 'ExaoneMoeConfig' object has no attribute 'sliding_windows'",
    ),
    Support(
        Answer.SILENT,
        _LINEAR,
        (),
        architectures=("SeedOss",),
        versions=Range(until="0.32"),
        how=_RUN,
        where="models/seed_oss.py, served by transformers since 0.32",
        words="q, k and v have biases whatever the config says",
    ),
    _STATE_SPACES,
    *_COMPRESSED_TENSORS,
    *_QUARK_ROWS,
    *_PLAIN_FP8,
    *_MODELOPT,
    *_MXFP8,
    *_BY_CLASS,
)
