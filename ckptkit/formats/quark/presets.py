"""Quark's FP8 schemes, and how it makes scales and codes: ``LLMTemplate`` and its observers, read and run.

As llm-compressor does, but for zeros: their scale is the epsilon of float32.
"""

from __future__ import annotations

from ckptkit.formats.preset import Preset
from ckptkit.model.granularity import PerChannel, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.operations.quantize import Arithmetic

_EPSILON = 2.0**-23
_ARITHMETIC = Arithmetic(zero=dict.fromkeys(("BF16", "F16", "F32"), _EPSILON))

PRESETS = (
    Preset("ptpc_fp8", Scheme(Quantization(PerChannel()), Quantization(PerToken(), dynamic=True)), _ARITHMETIC),
    Preset("fp8", Scheme(Quantization(PerTensor()), Quantization(PerTensor())), _ARITHMETIC, ("w_fp8_a_fp8",)),
)
