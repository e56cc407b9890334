"""Which kernels TensorRT-LLM has on which hardware, by its own table of hardware.

The table is in ``docs/source/features/quantization.md`` at 09d4c79ba941; what it leaves open for blocks is unknown,
though ``cpp/tensorrt_llm/thop/fp8BlockScalingGemm.cpp`` at 1e9d2162b1f7 has a kernel for sm_89 and one for sm_120. On
sm_100 weights in blocks are requantized to scales that are powers of two.
"""

from __future__ import annotations

from ckptkit.engines.gpus import AMD, CPU
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer

_HAS, _REFUSED = Answer.SUPPORTED, Answer.REFUSED
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_ALL = (*_LINEARS, Layer.EXPERT, Layer.STACK)
_TABLE = "docs/source/features/quantization.md"
_BLACKWELL = ("sm_100", "sm_120")
_POWERS_OF_TWO = "trtllm-gen (weights requantized to scales that are powers of two)"

KERNELS: tuple[Kernel, ...] = (
    Kernel(
        _REFUSED,
        (*_ALL, Layer.EMBEDDING, Layer.KV_CACHE),
        (),
        gpus=(*AMD, CPU),
        words="it runs on GPUs of NVIDIA only",
        where="docs/source/supported-hardware.md",
    ),
    Kernel(_HAS, _ALL, (), ("per-tensor",), gpus=("sm_89", "sm_90", *_BLACKWELL), name="FP8 per tensor", where=_TABLE),
    Kernel(_HAS, _ALL, (), ("per-channel",), gpus=("sm_90",), name="FP8 rowwise", where=_TABLE),
    Kernel(_HAS, _ALL, (), ("per-block",), gpus=("sm_90",), name="FP8 block scaling", where=_TABLE),
    Kernel(_HAS, _ALL, (), ("per-block",), gpus=("sm_100",), name=_POWERS_OF_TWO, where=_TABLE),
    Kernel(_HAS, _ALL, (), others=("NVFP4",), gpus=_BLACKWELL, name="NVFP4", where=_TABLE),
    Kernel(_HAS, _ALL, (), others=("MXFP4",), gpus=_BLACKWELL, name="MXFP4", where=_TABLE),
    Kernel(
        _HAS,
        (Layer.KV_CACHE,),
        (),
        gpus=("sm_80", "sm_86", "sm_89", "sm_90", *_BLACKWELL),
        name="FP8 KV cache",
        where=_TABLE,
    ),
)
