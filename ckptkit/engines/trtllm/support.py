"""Which schemes TensorRT-LLM has: what its readers of configs accept, before any weight is loaded.

A compressed-tensors config is refused as a whole, whatever kind of layer the scheme is for. Places are those of
``sources.py``.
"""

from __future__ import annotations

from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Range
from ckptkit.engines.support import Answer, Support
from ckptkit.engines.trtllm.sources import (
    EMBEDDING,
    EXPERTS,
    EXPERTS_TABLE,
    GROUPS,
    LINEARS,
    MIXTRAL,
    MODEL_CONFIG,
    MODELOPT,
    MXFP8,
    MXFP8_LINEARS,
    NOTES,
    NVFP4_SIZES,
    NVFP4_WEIGHTS,
    QWEN3_MOE,
    STATIC_FP8,
)

_HAS, _REFUSED, _SILENT, _UNKNOWN = Answer.SUPPORTED, Answer.REFUSED, Answer.SILENT, Answer.UNKNOWN
_CT = ("compressed-tensors",)
_LINEAR = (Layer.LINEAR, Layer.FUSED)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_MODULES = tuple(layer for layer in Layer if layer is not Layer.KV_CACHE)
_READER = str(GROUPS)
_HF_CONFIG = MODEL_CONFIG.at("load_hf_quant_config")
_MODELOPT_CONFIG = f"{MODELOPT}, {MODEL_CONFIG.at('_build_modelopt_quant_config')}"
_BLOCKS = LINEARS.at("FP8BlockScalesLinearMethod")
_PLAIN_FP8 = ("fp8", "quark-fp8", "fp8-block", "fp8-transformers")
#: Row-wise products in its PyTorch backend, and ModelOpt's blocks, are new in this release.
_FIRST = Range(since="1.0")
_NO_INPUTS = "TypeError: 'NoneType' object is not subscriptable, for input_activations"
_WEIGHTS = "ValueError: Unsupported weights_quant_strategy. Supported strategies: 'channel', 'block'."
_INPUTS = "ValueError: Unsupported inputs_quant_strategy"

SUPPORT: tuple[Support, ...] = (
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        (),
        ("none",),
        words=_NO_INPUTS,
        where=_READER,
    ),
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        ("per-tensor", "per-group"),
        words=_WEIGHTS,
        where=_READER,
    ),
    Support(_HAS, _LINEAR, _CT, ("per-channel",), ("dynamic per-token",), where=_READER),
    Support(
        _REFUSED,
        _EXPERTS,
        (*_CT, "modelopt"),
        ("per-channel",),
        ("dynamic per-token",),
        words="ValueError: unsupported quantization mode",
        where=f"{EXPERTS.at('_check_configs')}, {EXPERTS_TABLE}",
    ),
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        ("per-channel",),
        ("static per-tensor", "dynamic per-tensor", "dynamic per-group"),
        words=_INPUTS,
        where=_READER,
    ),
    Support(_HAS, _LINEAR, _CT, ("per-block",), ("dynamic per-group",), ((128, 128),), groups=(128,), where=_READER),
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        ("per-block",),
        ("dynamic per-group",),
        ((128, 128),),
        words="ValueError: Unsupported group_size. Supported: 128.",
        where=_READER,
    ),
    Support(
        _REFUSED,
        _LINEAR,
        _CT,
        ("per-block",),
        ("dynamic per-group",),
        words="RuntimeError: The size of tensor a must match the size of tensor b, for scales of other blocks",
        where=LINEARS.at("FP8BlockScalesLinearMethod, copy_weight"),
    ),
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        ("per-block",),
        ("static per-tensor", "dynamic per-tensor", "dynamic per-token"),
        words=_INPUTS,
        where=_READER,
    ),
    Support(_HAS, _LINEAR, _CT, others=("NVFP4",), where=_READER),
    Support(_HAS, (Layer.EXPERT,), _CT, others=("MXFP4",), where=_READER),
    Support(_REFUSED, _MODULES, _CT, others=("MXFP8",), words=_WEIGHTS, where=_READER),
    Support(
        _UNKNOWN,
        _MODULES,
        _CT,
        others=("NVFP4A16",),
        words="a reader of it was merged, and whether this release has it is not known",
        where=NVFP4_WEIGHTS,
    ),
    Support(_REFUSED, _MODULES, _CT, others=("W4A16", "W8A16"), words=_NO_INPUTS, where=_READER),
    Support(
        _UNKNOWN,
        _MODULES,
        _CT,
        others=("W8A8 INT8",),
        words="its reader takes 8 bits for FP8, whatever their type",
        where=_READER,
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("fp8-block",), blocks=((128, 128),), where=_HF_CONFIG),
    Support(
        _SILENT,
        (Layer.EMBEDDING,),
        (*_CT, *_PLAIN_FP8, "modelopt"),
        words="embeddings are built plain: codes are taken for values",
        where=str(EMBEDDING),
    ),
    Support(
        _SILENT,
        (Layer.ROUTER, Layer.GATE),
        (*_CT, *_PLAIN_FP8, "modelopt"),
        architectures=("Qwen3MoeFor", "MixtralFor"),
        words="routers are built plain: codes are taken for values",
        where=f"{QWEN3_MOE}, {MIXTRAL}",
    ),
    Support(
        _UNKNOWN,
        _MODULES,
        ("fp8-block",),
        blocks=((128, 128),),
        words="whether it builds such layers quantized",
        where=_HF_CONFIG,
    ),
    Support(
        _REFUSED,
        _MODULES,
        ("fp8-block",),
        words="AssertionError: FP8_BLOCK_SCALES only supports block_size=(128,128)",
        where=_HF_CONFIG,
    ),
    Support(
        _HAS,
        (Layer.EXPERT,),
        ("fp8-block",),
        architectures=("DeepseekV4",),
        others=("MXFP4", "NVFP4"),
        where=_HF_CONFIG,
    ),
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("mxfp8",),
        others=("MXFP8",),
        where=f"{_HF_CONFIG}; {MXFP8}",
    ),
    Support(
        _REFUSED,
        _MODULES,
        ("fp8-transformers",),
        ("per-tensor",),
        ("static per-tensor",),
        words="TypeError: 'NoneType' object is not iterable, for weight_block_size: null",
        where=_HF_CONFIG,
    ),
    Support(
        _SILENT,
        _MODULES,
        ("fp8", "fp8-transformers"),
        ("per-tensor",),
        ("dynamic per-token", "dynamic per-tensor"),
        words="no branch for it: layers are built unquantized, and codes are taken for values",
        where=f"{_HF_CONFIG}, {LINEARS.at('copy_weight')}",
    ),
    Support(
        _HAS,
        _LINEAR,
        ("fp8", "quark-fp8"),
        ("per-tensor",),
        ("static per-tensor",),
        where=f"{_HF_CONFIG}, {STATIC_FP8}, {_BLOCKS}: one scale is taken for all blocks",
    ),
    Support(
        _HAS,
        (Layer.KV_CACHE,),
        _PLAIN_FP8,
        ("per-tensor",),
        words="the config's KV cache is not looked at: it stays as the engine was told, and scales are left out",
        where=_HF_CONFIG,
    ),
    Support(_HAS, (Layer.KV_CACHE,), (*_CT, "modelopt"), ("per-tensor",), where=f"{_READER}, {MODELOPT}"),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        ("per-block",),
        ("dynamic per-group",),
        ((128, 128),),
        versions=_FIRST,
        where=f"{_MODELOPT_CONFIG}, {_BLOCKS}; {NOTES}",
    ),
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("modelopt",),
        ("per-tensor",),
        ("static per-tensor",),
        where=f"{_MODELOPT_CONFIG}, {LINEARS.at('FP8QDQLinearMethod')}, {EXPERTS.at('_get_quant_method')}",
    ),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        ("per-channel",),
        ("dynamic per-token",),
        versions=_FIRST,
        where=f"{_MODELOPT_CONFIG}, {LINEARS.at('FP8RowwiseLinearMethod')}; {NOTES}",
    ),
    Support(
        _UNKNOWN,
        _MODULES,
        ("modelopt",),
        others=("MXFP8",),
        words="its reader knows it, its layers look for weight_scale_inv: whether they take weight_scale is not known",
        where=f"{_MODELOPT_CONFIG}, {MXFP8_LINEARS}",
    ),
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("modelopt",),
        others=("NVFP4",),
        groups=(16,),
        where=f"{_MODELOPT_CONFIG}, {LINEARS.at('NVFP4LinearMethod')}, {EXPERTS.at('_get_quant_method')}",
    ),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        others=("NVFP4A16",),
        groups=(16,),
        where=NVFP4_WEIGHTS,
    ),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        others=("NVFP4A16",),
        groups=(32,),
        versions=Range(since="2026-09"),
        where=NVFP4_SIZES,
    ),
    Support(
        _REFUSED,
        (*_LINEAR, *_EXPERTS),
        ("modelopt",),
        others=("NVFP4", "NVFP4A16"),
        groups=(8, 32, 64, 128),
        words="sizes do not match; since 2026-09 ValueError: unsupported group_size, for NVFP4 of other groups than 16",
        where=NVFP4_SIZES,
    ),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        others=("W4A16 AWQ", "W4A8 AWQ", "W4A8 NVFP4"),
        where=f"{_MODELOPT_CONFIG}, {LINEARS.at('get_quant_method')}",
    ),
)
