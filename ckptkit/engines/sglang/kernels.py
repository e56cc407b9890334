"""Which kernels SGLang has on which hardware, as it chooses them itself where nothing is asked for.

Read in ``srt/layers/quantization`` of the release: ``fp8_utils.py``, ``fp8.py``, the schemes of compressed-tensors and
Quark, ``modelopt_quant.py``. AITER is used where it is asked for, and not counted. FP8 numbers of the MI300 are
e4m3fnuz: weights are relabelled at load, -0 becomes 0, and scales are doubled. What its attention does with an FP8
cache on which hardware was not read.
"""

from __future__ import annotations

from ckptkit.engines.gpus import CPU, WITHOUT_FP8
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer

_HAS, _SLOW, _REFUSED, _UNKNOWN = Answer.SUPPORTED, Answer.SLOW, Answer.REFUSED, Answer.UNKNOWN
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_CT, _QUARK, _MODELOPT = ("compressed-tensors",), ("quark",), ("modelopt",)
_FP8 = ("fp8", "fp8-block", "quark-fp8")
_TENSOR, _CHANNEL, _BLOCK = ("per-tensor",), ("per-channel",), ("per-block",)
_PLAIN = ("per-tensor", "per-channel")
_NONE, _TOKEN = ("none",), ("dynamic per-token",)
_BY_TENSOR = ("static per-tensor", "dynamic per-tensor")
_128 = ((128, 128),)
_WITH_FP8 = ("sm_89", "sm_90", "sm_100", "sm_120")

_MARLIN = "Marlin, weight-only"
_IN_BF16 = "this GPU multiplies no FP8 numbers: weights are dequantized in the kernel, and inputs stay in BF16"
_ONE_PASS_MORE = "scales are multiplied in a pass of their own, after torch._scaled_mm"
_FNUZ = "weights relabelled as e4m3fnuz, scales doubled"
_UTILS = "fp8_utils.py"

_AMPERE = (
    Kernel(
        _REFUSED,
        _LINEARS,
        _QUARK,
        gpus=WITHOUT_FP8,
        words="NotImplementedError: No quark compatible scheme was found.",
        where="quark/quark.py",
    ),
    Kernel(
        _REFUSED,
        (*_LINEARS, *_EXPERTS),
        _MODELOPT,
        gpus=WITHOUT_FP8,
        words="ValueError: The quantization method ... is not supported for the current GPU. Minimum capability: 89.",
        where="modelopt_quant.py",
    ),
    Kernel(
        _REFUSED,
        _LINEARS,
        _CT,
        _BLOCK,
        gpus=WITHOUT_FP8,
        words="ValueError: Unsupported weight strategy=block",
        where="compressed_tensors/schemes/compressed_tensors_w8a16_fp8.py",
    ),
    Kernel(_SLOW, _LINEARS, (*_CT, *_FP8), gpus=WITHOUT_FP8, name=_MARLIN, words=_IN_BF16, where=_UTILS),
)

_NVIDIA = (
    Kernel(_HAS, _LINEARS, _CT, _PLAIN, _NONE, gpus=_WITH_FP8, name="Marlin", where="compressed_tensors"),
    Kernel(_HAS, _LINEARS, (), _PLAIN, gpus=_WITH_FP8, name="CUTLASS", where=_UTILS),
    Kernel(_HAS, _LINEARS, (), _BLOCK, blocks=_128, gpus=("sm_89",), name="Triton", where=_UTILS),
    Kernel(_HAS, _LINEARS, (), _BLOCK, blocks=_128, gpus=("sm_90", "sm_100"), name="DeepGEMM", where=_UTILS),
    Kernel(_HAS, _LINEARS, (), _BLOCK, blocks=_128, gpus=("sm_120",), name="CUTLASS", where=_UTILS),
    Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=("sm_89", "sm_90"), name="Triton", where="srt/layers/moe"),
)


def _amd(gpu: str, note: str) -> tuple[Kernel, ...]:
    scaled, triton = f"torch._scaled_mm{note}", f"Triton{note}"
    return (
        Kernel(_HAS, _LINEARS, (), _TENSOR, _BY_TENSOR, gpus=(gpu,), name=scaled, where=_UTILS),
        Kernel(_HAS, _LINEARS, (), _CHANNEL, _TOKEN, gpus=(gpu,), name=scaled, where=_UTILS),
        Kernel(
            _SLOW,
            _LINEARS,
            (),
            _PLAIN,
            (*_BY_TENSOR, *_TOKEN),
            gpus=(gpu,),
            name=scaled,
            words=_ONE_PASS_MORE,
            where=_UTILS,
        ),
        Kernel(_HAS, _LINEARS, (), _BLOCK, gpus=(gpu,), name=triton, where=_UTILS),
        Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=(gpu,), name=triton, where="srt/layers/moe"),
    )


KERNELS: tuple[Kernel, ...] = (
    *_AMPERE,
    *_NVIDIA,
    *_amd("gfx942", f" ({_FNUZ})"),
    *_amd("gfx950", ""),
    Kernel(
        _UNKNOWN,
        (*_LINEARS, *_EXPERTS),
        _FP8,
        gpus=(CPU,),
        words="AssertionError without AMX: Fp8LinearMethod on CPU requires that CPU has AMX support",
        where="fp8.py",
    ),
)
