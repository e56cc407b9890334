"""llm-compressor's FP8 presets, and how it makes scales and codes: source as named in this package, read and run.

The scale is the largest magnitude over 448 in the dtype of the weight, and the quotient is rounded to that dtype as
well. Zeros get the epsilon of the dtype as their scale.
"""

from __future__ import annotations

from ckptkit.formats.preset import Preset
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.operations.quantize import Arithmetic

_ARITHMETIC = Arithmetic(zero={"BF16": 2.0**-7, "F16": 2.0**-10, "F32": 2.0**-23})

PRESETS = (
    Preset("FP8_DYNAMIC", Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True)), _ARITHMETIC),
    Preset(
        "FP8_BLOCK", Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True)), _ARITHMETIC
    ),
    Preset("FP8", Scheme(Quantization(PerTensor()), Quantization(PerTensor())), _ARITHMETIC),
)
