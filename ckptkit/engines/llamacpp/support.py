"""What llama.cpp's converter dequantizes: ``dequant_model`` and ``prepare_tensors`` in ``conversion/base.py``.

It multiplies each weight with the scale that lies beside it under the name that the quantization method gives it, of
whatever kind the layer is, and looks at no skip list. Every tensor that is left then has to have a name in the GGUF:
the first that has none ends the conversion with ``ValueError: Can not map tensor ...``, or among experts a KeyError.
Scales of a KV cache go no further than this: llama.cpp's cache has no scales of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.base import Demands
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence, Range
from ckptkit.engines.support import Answer, Support

_HAS, _REFUSED = Answer.SUPPORTED, Answer.REFUSED
_RUN = Evidence.RUN
_CT, _FP8, _MODELOPT = ("compressed-tensors",), ("fp8", "fp8-block", "fp8-transformers", "quark-fp8"), ("modelopt",)
_READ = (*_CT, *_FP8, *_MODELOPT)
#: Since ggml-org/llama.cpp#14810 (fp8, still open on 2025-10-23) and #17069 (compressed-tensors).
_DEQUANTIZES = Range(since="2025-11")
_BROADCAST = "RuntimeError: Attempting to broadcast a dimension ..."
#: Towers are left out, and have a file of their own: with --mmproj the config is that of the tower alone, which
#: declares no quantization, and a scale there ends the conversion (CK612).
_MODULES = tuple(layer for layer in Layer if layer is not Layer.KV_CACHE)

#: So in b8643, and not in b11312.
_UNPERMUTED = Range(until="b8644")

SUPPORT: tuple[Support, ...] = (
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        ("per-tensor", "per-group"),
        how=_RUN,
        words='AssertionError: assert strategy == "channel" or strategy == "block"',
    ),
    Support(_HAS, _MODULES, _CT, ("per-channel", "per-block"), how=_RUN, versions=_DEQUANTIZES),
    # Of these names and shapes alone decide, and one config group alone (``stored.py``).
    Support(_HAS, _MODULES, _CT, others=("NVFP4", "NVFP4A16"), where="conversion/base.py (_repack_nvfp4)"),
    Support(_HAS, _MODULES, _CT, others=("W4A16",), where="conversion/base.py (dequant_packed)"),
    Support(
        _REFUSED,
        _MODULES,
        _CT,
        others=("MXFP8",),
        how=_RUN,
        words="NotImplementedError: Quant format 'mxfp8-quantized' ... is not yet supported",
    ),
    Support(_HAS, _MODULES, _FP8, ("per-tensor", "per-channel", "per-block"), how=_RUN, versions=_DEQUANTIZES),
    Support(_HAS, _MODULES, _MODELOPT, ("per-tensor", "per-channel"), how=_RUN),
    Support(
        _REFUSED,
        _MODULES,
        _MODELOPT,
        ("per-block", "per-group"),
        how=_RUN,
        words=_BROADCAST,
    ),
    Support(_REFUSED, _MODULES, _MODELOPT, others=("MXFP8",), how=_RUN, words=_BROADCAST),
    Support(
        Answer.SILENT,
        (Layer.LINEAR, Layer.FUSED),
        _MODELOPT,
        others=("NVFP4",),
        architectures=("Llama", "Mistral"),
        versions=_UNPERMUTED,
        how=_RUN,
        words="queries and keys are not brought into the order that it has them in",
    ),
    Support(_HAS, _MODULES, _MODELOPT, others=("NVFP4", "NVFP4A16"), how=_RUN),
    Support(_HAS, (Layer.KV_CACHE,), _READ, how=_RUN),
)

_WORDS = "ValueError: Can not map tensor"
#: Since ggml-org/llama.cpp#22356.
_WITH_INPUTS = Range(since="2026-04-27")
#: Not yet on 2026-06-20, and by 2026-07-11.
_WITH_EXPONENTS = Range(since="2026-07")
_EXPONENTS = ("F8_E8M0",)
_INVERSE = Demands(
    ("_scale_inv", ".qscale_weight"),
    (".activation_scale", "_activation_scale", ".qscale_act"),
    words=_WORDS,
    versions=_WITH_EXPONENTS,
)
_SCALES, _CACHE = (".weight_scale", ".weight_scale_2"), (".k_scale", ".v_scale")
#: Dialect -> what it takes beside weights, and throws away: everything else of a quantizer ends the conversion.
DEMANDS: Mapping[str, tuple[Demands, ...]] = MappingProxyType(
    {
        "": (Demands(words=_WORDS),),
        "compressed-tensors": (
            Demands((".weight_scale",), keys=("format", "config_groups"), words=_WORDS, versions=_DEQUANTIZES),
        ),
        **dict.fromkeys(
            _FP8,
            (_INVERSE, replace(_INVERSE, dtypes=_EXPONENTS, versions=Range(_DEQUANTIZES.since, _WITH_EXPONENTS.since))),
        ),
        "modelopt": (
            Demands(_SCALES, (".input_scale", *_CACHE), words=_WORDS, versions=_WITH_INPUTS),
            Demands(_SCALES, _CACHE, words=_WORDS, versions=Range(until=_WITH_INPUTS.since)),
        ),
    }
)
