"""ModelOpt's FP8 algorithms, and how it makes scales and codes: ``export/quant_utils.py``, read and run.

Scales are float32, and so is the quotient, but for one scale of a whole tensor: there it has the weight's dtype. The
scale of zeros is 1. A magnitude below the least normal one of the weight's dtype counts as that large.
"""

from __future__ import annotations

from ckptkit.formats.modelopt.facts import SCHEMES
from ckptkit.formats.preset import Preset
from ckptkit.operations.quantize import Arithmetic

_TINY = {"BF16": 2.0**-126, "F16": 2.0**-14, "F32": 2.0**-126}
_GRIDS = Arithmetic(scale="F32", quotient="F32", zero={"F32": 1.0}, least=_TINY)
_TENSORS = Arithmetic(scale="F32", zero={"F32": 1.0}, least=_TINY)
#: What its own list of disabled quantizers has beyond heads, routers, towers and prediction layers.
_SKIPS = ("*linear_attn.in_proj_a", "*linear_attn.in_proj_b", "*output_layer", "*proj_out", "output")

PRESETS = (
    Preset(
        "FP8_PER_CHANNEL_PER_TOKEN",
        SCHEMES["FP8_PER_CHANNEL_PER_TOKEN"],
        _GRIDS,
        ("FP8_PER_CHANNEL_PER_TOKEN_CFG", "FP8_PC_PT"),
        _SKIPS,
    ),
    Preset(
        "FP8_PB_WO",
        SCHEMES["FP8_PB_WO"],
        _GRIDS,
        ("FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG", "FP8_2D_BLOCKWISE_WEIGHT_ONLY"),
        _SKIPS,
    ),
    Preset("FP8", SCHEMES["FP8"], _TENSORS, ("FP8_DEFAULT_CFG",), _SKIPS),
)
