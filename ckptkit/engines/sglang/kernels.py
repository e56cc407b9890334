"""Which kernels SGLang has on which hardware, as it chooses them itself where nothing is asked for.

Rows marked as run: SGLang's own layers were built, loaded and asked to multiply on a CPU on which torch plays the
hardware, up to the first product. The rest was read in ``srt`` of the release. AITER is used where it is asked for, and
not counted, but for attention, where it is the default. FP8 numbers of the MI300 are e4m3fnuz: weights are relabelled
at load, -0 becomes 0, and scales are doubled.
"""

from __future__ import annotations

from dataclasses import replace

from ckptkit.engines.gpus import CPU, SM_10X, WITHOUT_FP8
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence
from ckptkit.engines.support import Answer

_HAS, _SLOW, _REFUSED, _UNKNOWN = Answer.SUPPORTED, Answer.SLOW, Answer.REFUSED, Answer.UNKNOWN
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_CT, _QUARK, _MODELOPT = ("compressed-tensors",), ("quark",), ("modelopt",)
_FP8 = ("fp8", "fp8-block", "fp8-transformers", "quark-fp8")
_TENSOR, _CHANNEL, _BLOCK = ("per-tensor",), ("per-channel",), ("per-block",)
_PLAIN = ("per-tensor", "per-channel")
_NONE, _STATIC, _TOKEN = ("none",), ("static per-tensor",), ("dynamic per-token",)
_DYNAMIC = ("dynamic per-token", "dynamic per-tensor")
_128 = ((128, 128),)
_WITH_FP8 = ("sm_89", "sm_90", *SM_10X, "sm_120")

_MARLIN, _SCALED = "Marlin, weight-only", "torch._scaled_mm"
_IN_BF16 = "this GPU multiplies no FP8 numbers: weights are dequantized in the kernel, and inputs stay in BF16"
_ONE_PASS_MORE = "scales are multiplied in a pass of their own, after torch._scaled_mm"
_FNUZ = "weights relabelled as e4m3fnuz, scales doubled"
_STAY_FN = "weights of ModelOpt are not relabelled as e4m3fnuz, which is all that this GPU multiplies"
_NO_BLOCKS = "ValueError: Unsupported weight strategy=block"
_MOE = "srt/layers/moe"
_CACHE_IN = "arg_groups/model_override_base.py (get_default_attn_backend), layers/attention"


def _linears(
    answer: Answer, formats: tuple[str, ...], gpus: tuple[str, ...], name: str = "", words: str = ""
) -> Kernel:
    return Kernel(answer, _LINEARS, formats, gpus=gpus, name=name, words=words, how=Evidence.RUN)


_AMPERE = (
    _linears(_REFUSED, _QUARK, WITHOUT_FP8, words="NotImplementedError: No quark compatible scheme was found."),
    Kernel(
        _REFUSED,
        (*_LINEARS, *_EXPERTS),
        _MODELOPT,
        gpus=WITHOUT_FP8,
        words="ValueError: The quantization method ... is not supported for the current GPU. Minimum capability: 89.",
        how=Evidence.RUN,
    ),
    replace(
        _linears(_REFUSED, _CT, WITHOUT_FP8, words="ValueError: Unsupported weight strategy=block"), weights=_BLOCK
    ),
    _linears(_SLOW, (*_CT, *_FP8), WITHOUT_FP8, _MARLIN, _IN_BF16),
)

_FALLBACK = _linears(_SLOW, (), _WITH_FP8, _SCALED, _ONE_PASS_MORE)
_PER_TENSOR = (
    replace(_linears(_HAS, _MODELOPT, ("sm_90", *SM_10X, "sm_120"), "FlashInfer"), weights=_TENSOR),
    replace(_linears(_HAS, (*_CT, *_QUARK), _WITH_FP8, _SCALED), weights=_TENSOR, inputs=_STATIC),
    replace(_FALLBACK, formats=(*_CT, *_QUARK), weights=_TENSOR, inputs=_DYNAMIC),
    replace(_linears(_HAS, _FP8, ("sm_120",), _SCALED), weights=_TENSOR, inputs=_STATIC),
    replace(_FALLBACK, formats=_FP8, gpus=("sm_120",), weights=_TENSOR, inputs=_DYNAMIC),
)
_NVIDIA = (
    replace(_linears(_HAS, _CT, _WITH_FP8, "Marlin"), weights=_PLAIN, inputs=_NONE),
    *_PER_TENSOR,
    replace(_linears(_HAS, (), _WITH_FP8, "CUTLASS"), weights=_PLAIN),
    *(
        replace(_linears(_HAS, (), gpus, name), weights=_BLOCK, blocks=_128)
        for gpus, name in ((("sm_89",), "Triton"), (("sm_90", *SM_10X), "DeepGEMM"), (("sm_120",), "CUTLASS"))
    ),
    Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=("sm_89", "sm_90"), name="Triton", where=_MOE),
)


def _amd(gpu: str, note: str) -> tuple[Kernel, ...]:
    scaled, triton = _linears(_HAS, (), (gpu,), f"{_SCALED}{note}"), f"Triton{note}"
    fallback = replace(scaled, answer=_SLOW, words=_ONE_PASS_MORE)
    return (
        replace(scaled, weights=_TENSOR, inputs=_STATIC),
        replace(scaled, formats=(*_FP8, *_QUARK), weights=_TENSOR, inputs=_DYNAMIC),
        replace(scaled, weights=_CHANNEL, inputs=_TOKEN),
        replace(scaled, formats=_CT, weights=_CHANNEL, inputs=_DYNAMIC),
        replace(fallback, weights=_PLAIN, inputs=(*_STATIC, *_DYNAMIC)),
        replace(scaled, weights=_BLOCK, name=triton),
        Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=(gpu,), name=triton, where=_MOE),
    )


_CACHE = tuple(
    Kernel(_HAS, (Layer.KV_CACHE,), (), gpus=gpus, name=name, where=_CACHE_IN)
    for gpus, name in (
        (("sm_90",), "FlashAttention 3"),
        (SM_10X, "TensorRT-LLM's kernels, from FlashInfer"),
        ((*WITHOUT_FP8, "sm_89", "sm_120"), "FlashInfer, or Triton for MLA"),
        (("gfx942",), "AITER (e4m3fnuz, scales doubled)"),
        (("gfx950",), "AITER"),
    )
)

KERNELS: tuple[Kernel, ...] = (
    *_AMPERE,
    *_NVIDIA,
    Kernel(_UNKNOWN, (*_LINEARS, *_EXPERTS), _MODELOPT, gpus=("gfx942",), words=_STAY_FN, where="modelopt_quant.py"),
    *_amd("gfx942", f" ({_FNUZ})"),
    *_amd("gfx950", ""),
    *_CACHE,
    Kernel(
        _UNKNOWN,
        (*_LINEARS, *_EXPERTS),
        _FP8,
        gpus=(CPU,),
        words="AssertionError without AMX: Fp8LinearMethod on CPU requires that CPU has AMX support",
        where="fp8.py",
    ),
)
