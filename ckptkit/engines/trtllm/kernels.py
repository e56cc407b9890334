"""Which kernels TensorRT-LLM has on which hardware: of linear layers by what its operators dispatch to, of experts by
its own table of algorithms, of the rest by its table of hardware.

Where weights in blocks are requantized while they are loaded, on Blackwell, their scales become powers of two
(``LINEARS``, post_load_weights). What the sources leave open is unknown: by channel on sm_100 there is a template that
no dispatch was read of. Groups of 32 in linear layers have an operator for the family of sm_100; where it is not
there, on older hardware, ``MXFP8_LINEARS`` holds what the layer does instead against weights that are dequantized.
"""

from __future__ import annotations

from ckptkit.engines.gpus import AMD, CPU, SM_10X, WITHOUT_FP8
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer
from ckptkit.engines.trtllm.sources import (
    BLOCK_GEMM,
    EXPERTS_TABLE,
    HARDWARE,
    LINEARS,
    MODEL_CONFIG,
    MXFP8,
    MXFP8_LINEARS,
    ROWWISE_GEMM,
    ROWWISE_SM100,
)

_HAS, _SLOW, _REFUSED, _UNKNOWN = Answer.SUPPORTED, Answer.SLOW, Answer.REFUSED, Answer.UNKNOWN
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_ALL = (*_LINEARS, *_EXPERTS)
_TENSOR, _CHANNEL, _BLOCK = ("per-tensor",), ("per-channel",), ("per-block",)
_GEFORCE = ("sm_120",)
_BLACKWELL = (*SM_10X, *_GEFORCE)
_FP8 = ("sm_89", "sm_90", *_BLACKWELL)
_ROWS = ("sm_89", "sm_90", *_GEFORCE)
_TRTLLM_GEN = "trtllm-gen (weights requantized to scales that are powers of two)"
_GEFORCE_BLOCKS = "FP8 block scaling (weights requantized to scales that are powers of two)"
_REQUANTIZED = LINEARS.at("FP8BlockScalesLinearMethod.post_load_weights")
_NO_BLOCKS = "Unsupported SM version for FP8 block scaling GEMM"
_NO_ROWS = "Arch unsupported for CUTLASS Fp8 Rowwise GEMM"
_ROWS_ON_SM100 = "its operator, where it was read, refuses this hardware, and a kernel for it lies unused beside"

KERNELS: tuple[Kernel, ...] = (
    Kernel(
        _REFUSED,
        (*_ALL, Layer.EMBEDDING, Layer.KV_CACHE),
        (),
        gpus=(*AMD, CPU),
        words="it runs on GPUs of NVIDIA only",
        where=str(HARDWARE),
    ),
    Kernel(_HAS, _LINEARS, (), _TENSOR, gpus=_FP8, name="FP8 per tensor", where=str(HARDWARE)),
    Kernel(_HAS, _EXPERTS, (), _TENSOR, gpus=_FP8, name="CUTLASS", where=EXPERTS_TABLE),
    Kernel(_HAS, _LINEARS, (), _CHANNEL, gpus=_ROWS, name="FP8 rowwise", where=str(ROWWISE_GEMM)),
    Kernel(_REFUSED, _LINEARS, (), _CHANNEL, gpus=WITHOUT_FP8, words=_NO_ROWS, where=str(ROWWISE_GEMM)),
    Kernel(
        _UNKNOWN,
        _LINEARS,
        (),
        _CHANNEL,
        gpus=SM_10X,
        words=_ROWS_ON_SM100,
        where=f"{ROWWISE_GEMM}, {ROWWISE_SM100}",
    ),
    Kernel(_HAS, _LINEARS, (), _BLOCK, gpus=("sm_89", "sm_90"), name="FP8 block scaling", where=str(BLOCK_GEMM)),
    Kernel(_HAS, _LINEARS, (), _BLOCK, gpus=SM_10X, name=_TRTLLM_GEN, where=f"{BLOCK_GEMM}, {_REQUANTIZED}"),
    Kernel(_HAS, _LINEARS, (), _BLOCK, gpus=_GEFORCE, name=_GEFORCE_BLOCKS, where=f"{BLOCK_GEMM}, {_REQUANTIZED}"),
    Kernel(_REFUSED, _LINEARS, (), _BLOCK, gpus=WITHOUT_FP8, words=_NO_BLOCKS, where=str(BLOCK_GEMM)),
    Kernel(_HAS, _EXPERTS, (), _BLOCK, gpus=("sm_90",), name="DeepGEMM", where=EXPERTS_TABLE),
    Kernel(_HAS, _EXPERTS, (), _BLOCK, gpus=_GEFORCE, name="Triton", where=EXPERTS_TABLE),
    Kernel(
        _HAS,
        _EXPERTS,
        (),
        _BLOCK,
        gpus=SM_10X,
        name="trtllm-gen",
        where=MODEL_CONFIG.at("resolve_moe_backend"),
    ),
    Kernel(_HAS, _ALL, (), others=("NVFP4",), gpus=_BLACKWELL, name="NVFP4", where=f"{HARDWARE}, {EXPERTS_TABLE}"),
    Kernel(_HAS, _ALL, (), others=("MXFP4",), gpus=_BLACKWELL, name="MXFP4", where=str(HARDWARE)),
    Kernel(
        _HAS,
        _EXPERTS,
        (),
        others=("MXFP4",),
        gpus=("sm_90",),
        name="W4A16_MXFP4",
        where=f"{EXPERTS_TABLE}, {MODEL_CONFIG.at('get_mxfp4_quant_algo')}",
    ),
    Kernel(_HAS, _EXPERTS, (), others=("MXFP8",), gpus=SM_10X, name="CUTLASS", where=EXPERTS_TABLE),
    Kernel(_HAS, _LINEARS, (), others=("MXFP8",), gpus=SM_10X, name="CUTLASS", where=f"{MXFP8}, {MXFP8_LINEARS}"),
    Kernel(
        _SLOW,
        _LINEARS,
        (),
        others=("MXFP8",),
        gpus=("sm_89", "sm_90"),
        name="PyTorch",
        words="no operator for groups of 32: weights are dequantized in PyTorch",
        where=str(MXFP8_LINEARS),
    ),
    Kernel(
        _HAS,
        (Layer.KV_CACHE,),
        (),
        gpus=("sm_80", "sm_86", "sm_89", "sm_90", *_BLACKWELL),
        name="FP8 KV cache",
        where=str(HARDWARE),
    ),
)
