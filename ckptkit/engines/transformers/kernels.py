"""What transformers runs on which hardware.

compressed-tensors checkpoints are decompressed at the first request whatever the hardware is, unless FP8 kernels are
asked for; plain FP8 ones are dequantized at load where the GPU multiplies no FP8 numbers, and run kernels from the Hub
elsewhere.
"""

from __future__ import annotations

from ckptkit.engines.gpus import AMD, CPU, GPUS, NVIDIA, SM_10X, WITHOUT_FP8
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence
from ckptkit.engines.support import Answer

_HAS, _SLOW = Answer.SUPPORTED, Answer.SLOW
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_ALL = (*_LINEARS, Layer.EXPERT, Layer.STACK)
_FP8 = ("fp8", "fp8-block", "fp8-transformers")
_FINE = "quantizers/quantizer_finegrained_fp8.py, integrations/finegrained_fp8.py"
_IN_QUARK = "quark/torch/export/nn/modules/qparamslinear.py (can_use_fp8_kernel: ROCm only)"
_KV = "compressed_tensors/modeling/kvcache.py (QuantizedKVCache)"
_GPUS = (*NVIDIA, *AMD)
_DECOMPRESSED = "weights are decompressed, and products taken in the model's own type"
_DEQUANTIZED = "We will default to dequantizing the model to bf16"
_NOT_DEQUANTIZED = "RuntimeError: self and mat2 must have the same dtype; scales by this name are not multiplied with"
_FROM_THE_HUB = "Triton (kernels-community/finegrained-fp8)"
_OR_DEEPGEMM = f"DeepGEMM, or {_FROM_THE_HUB}"

KERNELS: tuple[Kernel, ...] = (
    Kernel(
        _SLOW,
        _ALL,
        ("compressed-tensors",),
        gpus=tuple(gpu.capability for gpu in GPUS),
        name="torch",
        words=_DECOMPRESSED,
        where="quantizers/quantizer_compressed_tensors.py",
    ),
    Kernel(_SLOW, _ALL, ("quark",), gpus=(CPU,), name="torch", words=_DECOMPRESSED, how=Evidence.RUN),
    Kernel(_SLOW, _ALL, ("quark",), gpus=NVIDIA, name="torch", words=_DECOMPRESSED, where=_IN_QUARK),
    Kernel(_HAS, (Layer.KV_CACHE,), (), gpus=(CPU,), name="torch", how=Evidence.RUN),
    Kernel(
        _HAS, (Layer.KV_CACHE,), ("compressed-tensors",), gpus=_GPUS, name="torch, in the model's own type", where=_KV
    ),
    Kernel(_HAS, (Layer.KV_CACHE,), _FP8, gpus=_GPUS, name="none: scales are left out", where=_FINE),
    Kernel(Answer.REFUSED, _ALL, ("fp8",), gpus=(*WITHOUT_FP8, CPU), how=Evidence.RUN, words=_NOT_DEQUANTIZED),
    Kernel(_SLOW, _ALL, _FP8, gpus=(*WITHOUT_FP8, CPU), name="torch", words=_DEQUANTIZED, where=_FINE),
    Kernel(_HAS, _ALL, _FP8, gpus=("sm_89", "sm_120"), name=_FROM_THE_HUB, where=_FINE),
    Kernel(_HAS, _ALL, _FP8, gpus=("sm_90", *SM_10X), name=_OR_DEEPGEMM, where=_FINE),
)
