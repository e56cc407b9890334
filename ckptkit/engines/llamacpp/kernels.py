"""Where llama.cpp's converter runs: on a CPU, whatever will run the GGUF, which holds plain numbers or NVFP4."""

from __future__ import annotations

from ckptkit.engines.gpus import GPUS
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence
from ckptkit.engines.support import Answer

_ANYWHERE = tuple(gpu.capability for gpu in GPUS)
_MODULES = tuple(layer for layer in Layer if layer is not Layer.KV_CACHE)

KERNELS: tuple[Kernel, ...] = (
    Kernel(
        Answer.SUPPORTED,
        _MODULES,
        (),
        gpus=_ANYWHERE,
        name="dequantized by the converter, on a CPU",
        how=Evidence.RUN,
    ),
    Kernel(
        Answer.SUPPORTED,
        _MODULES,
        (),
        others=("NVFP4",),
        gpus=_ANYWHERE,
        name="repacked by the converter, on a CPU",
        how=Evidence.RUN,
    ),
    Kernel(
        Answer.SUPPORTED,
        (Layer.KV_CACHE,),
        (),
        gpus=_ANYWHERE,
        name="scales are left out: the cache is llama.cpp's own",
        how=Evidence.RUN,
    ),
)
