"""Layouts of quantizations other than FP8 that several formats store alike: the same names, shapes and bytes.

A conversion carries such modules from one of these formats to another as they are. NVFP4 is not among them although
its codes and its first scales are the same everywhere: compressed-tensors divides by the second scale and ModelOpt
multiplies with it, and the reciprocal of most numbers has to be rounded.
"""

from __future__ import annotations

from ckptkit.model.granularity import PerGroup
from ckptkit.model.scheme import OtherScheme, Quantization

#: ``weight`` F8_E4M3 [N, K] and ``weight_scale`` U8 [N, K / 32], exponents of two; inputs in groups of 32 at run time.
MXFP8 = OtherScheme(
    "MXFP8",
    "mxfp8 (weight, weight_scale)",
    8,
    Quantization(PerGroup(32), scale_dtype="U8"),
    Quantization(PerGroup(32), dynamic=True),
)

#: Stacks ``NAME_blocks`` U8 [E, N, K / 32, 16] and ``NAME_scales`` U8 [E, N, K / 32] of experts, whose plain weights
#: transformers and vLLM know as [E, K, N].
MXFP4_BLOCKS = OtherScheme(
    "MXFP4", "mxfp4 (blocks, scales)", 4, Quantization(PerGroup(32), dtype="F4", scale_dtype="F8_E8M0")
)
