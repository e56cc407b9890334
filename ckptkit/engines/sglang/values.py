"""What values of configs that are not understood (CK600) do in SGLang: what its readers of configs make of them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.config_values import REFUSED_BY_LIBRARY, WITHOUT_SCHEME, about
from ckptkit.engines.sglang.classes import STAND_IN, STOP_SOMEWHERE

_ERROR, _SILENT = Outcome.ERROR, Outcome.SILENT
_UNKNOWN_NAME = "no parameter has this name"
_CT, _QUARK = ("compressed-tensors",), ("quark",)
_GROUPS = "srt/layers/quantization/compressed_tensors/compressed_tensors.py (_quantization_scheme_map_from_config)"
_STORAGES = "srt/layers/quantization/compressed_tensors/utils.py (is_activation_quantization_format)"

VALUES: Outcomes = MappingProxyType(
    {
        "CK600/fake": (Known(_SILENT, "weights are cast to FP8 by value"),),
        **dict.fromkeys(
            about("weight-four-bits"),
            (Known(_ERROR, "floats of four bits are known in one layout only", formats=_CT),),
        ),
        "CK600/weight-integers": (Known(_SILENT, "an INT8 scheme is taken", formats=_CT),),
        **dict.fromkeys(
            about("input-integers", "input-asymmetric", layers=("", "-static")),
            (Known(Outcome.OK, "weights count, and inputs may be in any precision", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-four-bits-alone", layers=("", "-static")),
            (Known(Outcome.OK, "the number of bits is not looked at without inputs", formats=_CT),),
        ),
        **dict.fromkeys(
            ("CK600/weight-integers-blocks", "CK600/weight-integers-experts", "CK600/weight-integers-static"),
            (Known(_ERROR, "no INT8 scheme for blocks, experts or scales of inputs", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-asymmetric", layers=("", "-experts", "-static")),
            (
                Known(_ERROR, "no scheme for asymmetric weights", formats=_CT),
                Known(Outcome.OK, "the key is not looked at", formats=_QUARK),
            ),
        ),
        "CK600/weight-asymmetric-blocks": (Known(_ERROR, "no scheme for asymmetric weights", formats=_CT),),
        **dict.fromkeys(
            about("weight-axis", "input-axis", layers=("", "-experts", "-static")),
            (Known(Outcome.OK, "the axis is not looked at", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about(*WITHOUT_SCHEME),
            (Known(_ERROR, "no scheme is found", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about(
                "stored-dense",
                "stored-otherwise",
                "stored-mxfp4-pack",
                "stored-mxfp8",
                "stored-pack-alone",
                "other-groups",
            ),
            (Known(_ERROR, "no scheme is found", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-int", "stored-nvfp4-pack", "stored-pack"),
            (Known(Outcome.OK, "the scheme counts, and not what the storage is called", formats=_CT, where=_STORAGES),),
        ),
        **dict.fromkeys(
            about(*REFUSED_BY_LIBRARY),
            (Known(_ERROR, "the config is refused", formats=_CT),),
        ),
        **dict.fromkeys(
            about("inputs-empty"),
            (Known(Outcome.OK, "an empty object is taken for nothing", formats=_CT),),
        ),
        **dict.fromkeys(
            about("outputs-empty"),
            (Known(Outcome.OK, "what is said of outputs is not looked at", formats=_CT, where=_GROUPS),),
        ),
        **dict.fromkeys(
            about("no-groups"),
            (
                Known(_SILENT, "no quantization is found: codes are taken for values", formats=_CT),
                Known(_ERROR, _UNKNOWN_NAME, formats=_CT, architectures=(*STOP_SOMEWHERE, STAND_IN)),
            ),
        ),
        **dict.fromkeys(
            about("input-bits", layers=("", "-static", "-experts")),
            (Known(_ERROR, "NotImplementedError: Only num_bits in (8) are supported", formats=_CT),),
        ),
        **dict.fromkeys(
            about("kv-group"),
            (Known(Outcome.OK, "an object is read by its keys", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("kv-group/not-literal"),
            (Known(_ERROR, "kv_cache_group, and no entries of just these names", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("kv-group-of-none"),
            (Known(_ERROR, "kv_cache_group, and no entries of it in layer_quant_config", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("weight-format", "weight-format-fake"),
            (Known(Outcome.OK, "the word is not looked at", formats=_QUARK),),
        ),
        "CK600/no-object": (Known(_ERROR, "AttributeError: 'str' object has no attribute 'to_dict'"),),
    }
)
