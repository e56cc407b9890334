"""What transformers makes of values that no FP8 checkpoint's config has (CK600)."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.config_values import LAYERS, about

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_CT, _QUARK = ("compressed-tensors",), ("quark",)
#: Of ``export`` only how codes are packed goes on to Quark, which builds layers of the specs.
_MAPPED = "quantizers/quantizer_quark.py (_process_model_before_weight_loading)"
_NOT_STATIC = tuple(layers for layers in LAYERS if layers != "-static")
#: What the classes of compressed-tensors itself refuse.
_REFUSED_BY_LIBRARY = ("blocks-without-size", "groups-without-size", "word", "no-groups", "no-weights")

VALUES: Outcomes = MappingProxyType(
    {
        **dict.fromkeys(
            ("CK600/input-bits", "CK600/input-bits-static", "CK600/input-bits-experts"),
            (Known(_ERROR, "NotImplementedError: Only num_bits in (8) are supported", formats=_CT),),
        ),
        "CK600/fake": (Known(_SILENT, "weights are taken for codes"),),
        **dict.fromkeys(
            about("weight-four-bits", "weight-four-bits-alone", "weight-bits"),
            (Known(_ERROR, "only num_bits in (8) are supported", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-integers", layers=("", "-blocks", "-static")),
            (Known(_SILENT, "codes are taken for integers", formats=_CT),),
        ),
        "CK600/weight-integers-experts": (Known(_ERROR, "the weights cannot be converted", formats=_CT),),
        **dict.fromkeys(
            about("weight-asymmetric"),
            (
                Known(_WARNING, "zero points are listed as missing, and made up", formats=_CT),
                Known(Outcome.OK, "without zero points nothing is subtracted", formats=_QUARK),
            ),
        ),
        "CK600/input-asymmetric-static": (
            Known(_WARNING, "zero points are listed as missing, and made up", formats=_CT),
        ),
        **dict.fromkeys(
            about("weight-axis", layers=("", "-experts", "-static")),
            (Known(_ERROR, "shapes do not fit; at the first request", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("default-missing", "weight-dtype", "input-dtype", "weight-granularity", "bias"),
            (Known(_ERROR, "Quark refuses the config", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("stored-pack", "stored-pack-alone"),
            (Known(_ERROR, "mat1 and mat2 shapes cannot be multiplied; at the first request", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-nvfp4-pack", "stored-mxfp4-pack"),
            (Known(_WARNING, "packed weights are listed as missing, and made up", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-dense", layers=("", "-experts", "-static")),
            (Known(_SILENT, "codes are taken for values", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-int"),
            (Known(Outcome.OK, "codes are multiplied with their scales, whatever their type", formats=_CT),),
        ),
        **dict.fromkeys(
            about("outputs-empty", "stored-mxfp8"),
            (Known(Outcome.UNKNOWN, "nobody has loaded it", formats=_CT),),
        ),
        **dict.fromkeys(
            about("inputs-empty"),
            (Known(_WARNING, "inputs are INT8; their scales are listed as missing, and made up", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-e5m2"),
            (Known(_SILENT, "codes are converted by value, and lose digits", formats=_QUARK),),
        ),
        **dict.fromkeys(about("input-e5m2"), (Known(Outcome.OK, "inputs are rounded as declared", formats=_QUARK),)),
        **dict.fromkeys(
            about(*_REFUSED_BY_LIBRARY),
            (Known(_ERROR, "the config is refused", formats=_CT),),
        ),
        **dict.fromkeys(
            about("export-missing"),
            (Known(Outcome.OK, "the usual way of an export is taken", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("weight-format", "weight-format-fake"),
            (Known(Outcome.OK, "the word is not looked at", formats=_QUARK, where=_MAPPED),),
        ),
        **dict.fromkeys(
            about("kv-group", "kv-group-of-none"),
            (Known(Outcome.OK, "the key is not looked at", formats=_QUARK, where=_MAPPED),),
        ),
        **dict.fromkeys(
            about("input-axis", layers=_NOT_STATIC),
            (Known(Outcome.OK, "inputs are rounded as declared", formats=_QUARK, where=_MAPPED),),
        ),
        "CK600/no-object": (Known(_ERROR, "AttributeError: 'str' object has no attribute 'to_dict'"),),
    }
)
