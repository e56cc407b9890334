"""Which kernels vLLM has on which hardware, as it chooses them itself where nothing is asked for.

Read in ``model_executor/kernels/linear``, ``layers/fused_moe/oracle`` and ``platforms`` of the release; what its
compiled parts answer in ``csrc/stable/quantization/w8a8/cutlass/scaled_mm_entry.cu`` at 63f99b0d0233. Rows marked as
run: vLLM's own choosers were asked on a CPU, under a platform that plays the hardware, with FlashInfer and DeepGEMM
there (as its requirements bring them), and AITER, Humming and b12x not. FP8 numbers of the MI300 are e4m3fnuz: weights
are relabelled at load, -0 becomes 0, and scales are doubled.
"""

from __future__ import annotations

from dataclasses import replace

from ckptkit.engines.gpus import AMD, CPU, SM_10X, WITHOUT_FP8
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence, Range
from ckptkit.engines.support import Answer

_HAS, _SLOW, _REFUSED, _UNKNOWN = Answer.SUPPORTED, Answer.SLOW, Answer.REFUSED, Answer.UNKNOWN
_RUN = Evidence.RUN
_LINEARS = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.GATE, Layer.HEAD, Layer.TOWER)
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_CT, _QUARK, _FP8 = ("compressed-tensors",), ("quark",), ("fp8", "quark-fp8")
_TENSOR, _CHANNEL, _BLOCK = ("per-tensor",), ("per-channel",), ("per-block",)
_PLAIN = ("per-tensor", "per-channel")
_STATIC, _NONE, _DYNAMIC = ("static per-tensor",), ("none",), ("dynamic per-token", "dynamic per-tensor")
_128 = ((128, 128),)
_WITH_FP8 = ("sm_89", "sm_90", *SM_10X, "sm_120")
_NO_BLACKWELL = (*WITHOUT_FP8, "sm_89", "sm_90")
#: The day of pull request 33280.
_SINCE_W8A16_BLOCKS = Range(since="2026-01-28")

_MARLIN = "Marlin, weight-only"
_IN_BF16 = "this GPU multiplies no FP8 numbers: weights are dequantized in the kernel, and inputs stay in BF16"
_NO_BLOCKS = "no block kernel is compiled for sm_89, and Marlin goes before Triton: inputs stay in BF16"
_ONE_PASS_MORE = "scales are multiplied in a pass of their own, after torch._scaled_mm"
_MIN_89 = "RuntimeError: Quantization scheme is not supported for the current GPU. Min capability: 89."
_NO_KERNEL = "ValueError: Failed to find a kernel that can implement the ScaledMM linear layer"
_NO_EXPERTS = "NotImplementedError: No FP8 MoE backend supports the deployment configuration."
_NO_STATIC = "AttributeError: '_OpNamespace' '_C' object has no attribute 'static_scaled_fp8_quant'"
_SUCH_SCALES = (
    "this GPU multiplies no numbers with such scales: weights are dequantized in the kernel, and inputs stay in BF16"
)
_EMULATED = "this GPU multiplies no numbers with such scales: it is all done in BF16"
_NO_MARLIN = "ValueError: Forced NVFP4 kernel MarlinNvFp4LinearKernel is not supported: Marlin FP4 not available"
_NO_OTHER = "ValueError: Failed to find a kernel that can implement the"
_AMX = "a kernel needs AMX (Sapphire Rapids or newer); without it none is found"
_NOT_COMPILED = "CUTLASS is chosen, and its sources have no grouped product for sm_120: Required capability: 90 or 100"
_FNUZ = "weights relabelled as e4m3fnuz, scales doubled"
_SCALED_MM = {"gfx942": f"torch._scaled_mm ({_FNUZ})", "gfx950": "torch._scaled_mm"}
_TRITON = {"gfx942": f"Triton ({_FNUZ})", "gfx950": "Triton"}


def _marlin(layers: tuple[Layer, ...], formats: tuple[str, ...] = (), versions: Range | None = None) -> Kernel:
    return Kernel(_SLOW, layers, formats, versions=versions, gpus=WITHOUT_FP8, name=_MARLIN, words=_IN_BF16, how=_RUN)


_AMPERE = (
    Kernel(_REFUSED, _LINEARS, _QUARK, gpus=WITHOUT_FP8, how=_RUN, words=_MIN_89),
    replace(_marlin(_LINEARS, _CT, _SINCE_W8A16_BLOCKS), weights=_BLOCK, blocks=_128),
    replace(_marlin(_LINEARS), weights=_PLAIN),
    replace(_marlin(_LINEARS, ("fp8-block", "modelopt")), weights=_BLOCK, blocks=_128),
    replace(_marlin(_EXPERTS), weights=_PLAIN),
    replace(_marlin(_EXPERTS), weights=_BLOCK, blocks=_128),
)

_FP8_LINEARS = (
    Kernel(_HAS, _LINEARS, _CT, _PLAIN, _NONE, gpus=_WITH_FP8, name="Marlin", how=_RUN),
    Kernel(_HAS, _LINEARS, (), _TENSOR, _STATIC, gpus=(*SM_10X, "sm_120"), name="FlashInfer", how=_RUN),
    Kernel(
        _HAS,
        _LINEARS,
        ("quark",),
        _TENSOR,
        ("dynamic per-tensor",),
        gpus=(*SM_10X, "sm_120"),
        name="FlashInfer",
        how=_RUN,
    ),
    Kernel(_HAS, _LINEARS, (), _PLAIN, gpus=_WITH_FP8, name="CUTLASS", how=_RUN),
    Kernel(_SLOW, _LINEARS, (), _BLOCK, blocks=_128, gpus=("sm_89",), name=_MARLIN, words=_NO_BLOCKS, how=_RUN),
    Kernel(_HAS, _LINEARS, (), _BLOCK, blocks=_128, gpus=_WITH_FP8, name="DeepGEMM", how=_RUN),
)

_FP8_EXPERTS = (
    Kernel(
        _SLOW,
        _EXPERTS,
        _CT,
        _TENSOR,
        ("dynamic per-tensor",),
        gpus=_WITH_FP8,
        name=_MARLIN,
        words="no kernel takes these inputs per tensor: they stay in BF16",
        how=_RUN,
    ),
    Kernel(_HAS, _EXPERTS, (), gpus=("sm_89",), name="Triton", how=_RUN),
    Kernel(_HAS, _EXPERTS, (), _TENSOR, _STATIC, gpus=_WITH_FP8, name="FlashInfer", how=_RUN),
    Kernel(_HAS, _EXPERTS, _CT, _CHANNEL, gpus=("sm_90", *SM_10X), name="CUTLASS", how=_RUN),
    Kernel(_UNKNOWN, _EXPERTS, _CT, _CHANNEL, gpus=("sm_120",), words=_NOT_COMPILED, how=_RUN),
    Kernel(_HAS, _EXPERTS, (), _BLOCK, blocks=_128, gpus=SM_10X, name="FlashInfer", how=_RUN),
    Kernel(_HAS, _EXPERTS, (), _BLOCK, blocks=_128, gpus=("sm_120",), name="DeepGEMM", how=_RUN),
    Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=_WITH_FP8, name="Triton", how=_RUN),
)


def _amd(gpu: str) -> tuple[Kernel, ...]:
    here, scaled, triton = (gpu,), _SCALED_MM[gpu], _TRITON[gpu]
    return (
        Kernel(_REFUSED, _LINEARS, _CT, _PLAIN, _NONE, gpus=here, words=_NO_KERNEL, how=_RUN),
        Kernel(_HAS, _LINEARS, (), _TENSOR, _STATIC, gpus=here, name=scaled, how=_RUN),
        Kernel(_HAS, _LINEARS, _FP8, _TENSOR, gpus=here, name=scaled, how=_RUN),
        Kernel(_HAS, _LINEARS, (), _CHANNEL, _DYNAMIC, gpus=here, name=scaled, how=_RUN),
        Kernel(_SLOW, _LINEARS, (), _PLAIN, gpus=here, name=scaled, words=_ONE_PASS_MORE, how=_RUN),
        Kernel(_HAS, _LINEARS, (), _BLOCK, gpus=here, name=triton, how=_RUN),
        Kernel(_REFUSED, _EXPERTS, _CT, _TENSOR, ("dynamic per-tensor",), gpus=here, words=_NO_EXPERTS, how=_RUN),
        Kernel(_HAS, _EXPERTS, (), (*_PLAIN, *_BLOCK), gpus=here, name=triton, how=_RUN),
    )


_OTHERS = (
    Kernel(
        _SLOW,
        _LINEARS,
        (),
        others=("NVFP4", "MXFP8"),
        gpus=_NO_BLACKWELL,
        name=_MARLIN,
        words=_SUCH_SCALES,
        how=_RUN,
    ),
    Kernel(_HAS, _LINEARS, (), others=("NVFP4A16",), gpus=(*_NO_BLACKWELL, "sm_120"), name="Marlin", how=_RUN),
    Kernel(
        _HAS,
        _LINEARS,
        (),
        others=("NVFP4", "NVFP4A16", "MXFP8"),
        gpus=(*SM_10X, "sm_120"),
        name="FlashInfer",
        how=_RUN,
    ),
    Kernel(_HAS, _LINEARS, (), others=("MXFP8",), gpus=("gfx950",), name="Triton", how=_RUN),
    Kernel(_SLOW, _LINEARS, (), others=("NVFP4", "MXFP8"), gpus=AMD, name="emulation", words=_EMULATED, how=_RUN),
    Kernel(_REFUSED, _LINEARS, (), others=("NVFP4A16",), gpus=(*AMD, CPU), words=_NO_MARLIN, how=_RUN),
    *(
        Kernel(
            _REFUSED, _LINEARS, (), others=(other,), gpus=(CPU,), words=f"{_NO_OTHER} {other} linear layer", how=_RUN
        )
        for other in ("NVFP4", "MXFP8")
    ),
)

_ON_A_CPU = (
    Kernel(_REFUSED, _LINEARS, _CT, _PLAIN, _NONE, gpus=(CPU,), words=_NO_KERNEL, how=_RUN),
    Kernel(_REFUSED, _LINEARS, (), _PLAIN, _STATIC, gpus=(CPU,), words=_NO_STATIC, how=_RUN),
    Kernel(_HAS, _LINEARS, (), _PLAIN, gpus=(CPU,), name="torch._scaled_mm", how=_RUN),
    Kernel(_UNKNOWN, (*_LINEARS, *_EXPERTS), (), gpus=(CPU,), words=_AMX, where="kernels/linear/scaled_mm/cpu.py"),
)

_CACHE = (
    Kernel(
        _HAS, (Layer.KV_CACHE,), (), gpus=("sm_90",), name="FlashAttention 3", where="v1/attention/backends/fa_utils.py"
    ),
    Kernel(
        _HAS,
        (Layer.KV_CACHE,),
        (),
        gpus=(*WITHOUT_FP8, "sm_89", *SM_10X, "sm_120"),
        name="FlashInfer",
        where="v1/attention/backends, platforms/cuda.py (_get_backend_priorities)",
    ),
    Kernel(
        _HAS,
        (Layer.KV_CACHE,),
        (),
        gpus=("gfx942",),
        name="Triton (e4m3fnuz, scales doubled)",
        where="platforms/rocm.py, layers/quantization/kv_cache.py",
    ),
    Kernel(_HAS, (Layer.KV_CACHE,), (), gpus=("gfx950",), name="Triton", where="platforms/rocm.py"),
    Kernel(_HAS, (Layer.KV_CACHE,), (), gpus=(CPU,), name="CPU attention", how=_RUN),
)

KERNELS: tuple[Kernel, ...] = (
    *_AMPERE,
    *_FP8_LINEARS,
    *_FP8_EXPERTS,
    *(row for gpu in AMD for row in _amd(gpu)),
    *_OTHERS,
    *_ON_A_CPU,
    *_CACHE,
)
