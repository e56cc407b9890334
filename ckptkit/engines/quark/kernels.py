"""What multiplies where models are loaded by Quark's importer, which transformers uses for Quark checkpoints too.

``QParamsLinear`` (``quark/torch/export/nn/modules/qparamslinear.py``) dequantizes weights for each product and rounds
inputs as they were declared. Where ROCm is, one scale for a weight and a static one for its inputs go to
torch._scaled_mm, with numbers relabelled as e4m3fnuz on every GPU, whatever it multiplies.
"""

from __future__ import annotations

from ckptkit.engines.gpus import AMD, CPU, NVIDIA
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence
from ckptkit.engines.support import Answer

_ALL = (Layer.LINEAR, Layer.FUSED, Layer.ROUTER, Layer.HEAD, Layer.TOWER, Layer.EXPERT, Layer.STACK)
_READS = ("quark", "quark-fp8")
_TENSOR, _STATIC = ("per-tensor",), ("static per-tensor",)
_WHERE = "quark/torch/export/nn/modules/qparamslinear.py, quark/torch/export/constants.py"
_DEQUANTIZED = "weights are dequantized for each product, which is taken in the model's own type"
_NOT_FNUZ = "weights and inputs are relabelled as e4m3fnuz, which this GPU does not multiply"
_SCALED = "torch._scaled_mm (weights relabelled as e4m3fnuz, scales doubled)"

KERNELS: tuple[Kernel, ...] = (
    Kernel(Answer.SUPPORTED, _ALL, _READS, _TENSOR, _STATIC, gpus=("gfx942",), name=_SCALED, where=_WHERE),
    Kernel(Answer.UNKNOWN, _ALL, _READS, _TENSOR, _STATIC, gpus=("gfx950",), words=_NOT_FNUZ, where=_WHERE),
    Kernel(Answer.SLOW, _ALL, _READS, gpus=(CPU,), name="torch", words=_DEQUANTIZED, how=Evidence.RUN),
    Kernel(Answer.SLOW, _ALL, _READS, gpus=(*NVIDIA, *AMD), name="torch", words=_DEQUANTIZED, where=_WHERE),
    Kernel(Answer.SUPPORTED, (Layer.KV_CACHE,), _READS, gpus=(CPU,), name="torch", how=Evidence.RUN),
)
