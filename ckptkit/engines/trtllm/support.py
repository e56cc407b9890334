"""Which schemes TensorRT-LLM has: what its readers of configs accept, before any weight is loaded.

A compressed-tensors config is refused as a whole, whatever kind of layer the scheme is for. The model classes are those
of its table of supported models (``docs/source/models/supported-models.md`` at 00b6d5a25c30).
"""

from __future__ import annotations

from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer, Support

_HAS, _REFUSED, _SILENT, _UNKNOWN = Answer.SUPPORTED, Answer.REFUSED, Answer.SILENT, Answer.UNKNOWN
_CT = ("compressed-tensors",)
_LINEAR = (Layer.LINEAR, Layer.FUSED)
_MODULES = tuple(layer for layer in Layer if layer is not Layer.KV_CACHE)
_READER = "tensorrt_llm/models/quant_config_utils.py"
_MODEL_CONFIG = "tensorrt_llm/_torch/model_config.py"
_LINEARS = "tensorrt_llm/_torch/modules/linear.py (FP8BlockScalesLinearMethod)"
_PLAIN_FP8 = ("fp8", "quark-fp8", "fp8-block", "fp8-transformers")
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
    Support(_REFUSED, _MODULES, _CT, others=("NVFP4A16", "W4A16", "W8A16"), words=_NO_INPUTS, where=_READER),
    Support(
        _UNKNOWN,
        _MODULES,
        _CT,
        others=("W8A8 INT8",),
        words="its reader takes 8 bits for FP8, whatever their type",
        where=_READER,
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("fp8-block",), blocks=((128, 128),), where=_MODEL_CONFIG),
    Support(Answer.UNKNOWN, _MODULES, ("fp8-block",), blocks=((128, 128),), where=_MODEL_CONFIG),
    Support(
        _REFUSED,
        _MODULES,
        ("fp8-block",),
        words="AssertionError: FP8_BLOCK_SCALES only supports block_size=(128,128)",
        where=_MODEL_CONFIG,
    ),
    Support(
        _HAS,
        (Layer.EXPERT,),
        ("fp8-block",),
        architectures=("DeepseekV4",),
        others=("MXFP4", "NVFP4"),
        where=_MODEL_CONFIG,
    ),
    Support(
        _HAS,
        (*_LINEAR, Layer.EXPERT),
        ("mxfp8",),
        others=("MXFP8",),
        where=f"{_MODEL_CONFIG} (load_hf_quant_config) at 008e0af8980f; MXFP8LinearMethod, of pull request 14962",
    ),
    Support(
        _REFUSED,
        _MODULES,
        ("fp8-transformers",),
        ("per-tensor",),
        ("static per-tensor",),
        words="TypeError: 'NoneType' object is not iterable, for weight_block_size: null",
        where=_MODEL_CONFIG,
    ),
    Support(
        _SILENT,
        _MODULES,
        ("fp8", "fp8-transformers"),
        ("per-tensor",),
        ("dynamic per-token", "dynamic per-tensor"),
        words="no branch for it: layers are built unquantized, and codes are taken for values",
        where=f"{_MODEL_CONFIG}, tensorrt_llm/_torch/modules/linear.py (copy_weight)",
    ),
    Support(
        _HAS,
        _LINEAR,
        ("fp8", "quark-fp8"),
        ("per-tensor",),
        ("static per-tensor",),
        where=f"{_MODEL_CONFIG} at 008e0af8980f, {_LINEARS} at 00bbf71e7964: one scale is taken for all blocks",
    ),
    Support(
        _SILENT,
        (Layer.EMBEDDING,),
        (*_CT, *_PLAIN_FP8, "modelopt"),
        words="embeddings are built plain: codes are taken for values",
        where="tensorrt_llm/_torch/modules/embedding.py at fbbc05dd1445",
    ),
    Support(
        _SILENT,
        (Layer.ROUTER, Layer.GATE),
        (*_CT, *_PLAIN_FP8, "modelopt"),
        architectures=("Qwen3MoeFor", "MixtralFor"),
        words="routers are built plain: codes are taken for values",
        where="tensorrt_llm/_torch/models/modeling_qwen3_moe.py at 03441af14b66, modeling_mixtral.py at 000a01de66f0",
    ),
    Support(
        _HAS,
        (Layer.KV_CACHE,),
        _PLAIN_FP8,
        ("per-tensor",),
        words="the config's KV cache is not looked at: it stays as the engine was told, and scales are left out",
        where=f"{_MODEL_CONFIG} (load_hf_quant_config) at 008e0af8980f",
    ),
    Support(_HAS, (Layer.KV_CACHE,), (*_CT, "modelopt"), ("per-tensor",), where=_READER),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        ("per-block",),
        ("dynamic per-group",),
        ((128, 128),),
        where=f"tensorrt_llm/quantization/modelopt_config.py at 2edf354d4b92, {_LINEARS} at 00bbf71e7964",
    ),
    Support(_HAS, (*_LINEAR, Layer.EXPERT), ("modelopt",), ("per-tensor",), ("static per-tensor",), where="ModelOpt"),
    Support(_HAS, _LINEAR, ("modelopt",), ("per-channel",), ("dynamic per-token",), where="ModelOpt"),
    Support(
        _HAS,
        _LINEAR,
        ("modelopt",),
        others=("NVFP4", "NVFP4A16", "W4A16 AWQ", "W4A8 AWQ", "W4A8 NVFP4"),
        where="tensorrt_llm/_torch/modules/linear.py (get_quant_method)",
    ),
)
