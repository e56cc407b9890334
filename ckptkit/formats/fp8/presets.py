"""vLLM's ways to quantize while it loads, as checkpoints: blocks as DeepSeek's, and one scale for each tensor.

vLLM (``quantization/online/fp8.py``, ``utils/deep_gemm.py``) makes float32 scales and multiplies by the reciprocal of
them. What is smaller than 1e-4 throughout a block counts as that large.
"""

from __future__ import annotations

from ckptkit.formats.preset import Preset
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.operations.quantize import Arithmetic

#: 1e-4 as float32, and the scale that it gives.
_LEAST, _LEAST_SCALE = 9.999999747378752e-05, 2.2321428616578487e-07
#: vLLM's smallest scale, 1 / (448 * 512), as float32.
_SMALLEST = 4.359654212748865e-06
_BLOCKS = Arithmetic(
    scale="F32",
    quotient="F32",
    zero={"F32": _LEAST_SCALE},
    least=dict.fromkeys(("BF16", "F16", "F32"), _LEAST),
    reciprocal=True,
)
_TENSORS = Arithmetic(scale="F32", quotient="F32", zero={"F32": _SMALLEST}, reciprocal=True)

PRESETS = (
    Preset(
        "fp8_per_block",
        Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True)),
        _BLOCKS,
        usual=True,
    ),
    Preset("fp8_per_tensor", Scheme(Quantization(PerTensor()), Quantization(PerToken(), dynamic=True)), _TENSORS),
)
