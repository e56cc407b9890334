"""What values of configs that are not understood (CK600) do in vLLM: what its readers of configs make of them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.config_values import REFUSED_BY_LIBRARY, WITHOUT_SCHEME, about

_ERROR, _SILENT = Outcome.ERROR, Outcome.SILENT
_UNKNOWN_NAME = "no parameter has this name"
_CT, _QUARK = ("compressed-tensors",), ("quark",)
_GROUPS = "layers/quantization/compressed_tensors/compressed_tensors.py (_quantization_scheme_map_from_config)"
_STORAGES = "layers/quantization/compressed_tensors/utils.py (is_activation_quantization_format)"

VALUES: Outcomes = MappingProxyType(
    {
        "CK600/fake": (Known(_SILENT, "weights are cast to FP8 by value"),),
        **dict.fromkeys(
            about("weight-four-bits", "weight-four-bits-alone"),
            (Known(Outcome.OK, "the number of bits is not looked at where the type is float", formats=_CT),),
        ),
        **dict.fromkeys(
            about("input-integers", "input-asymmetric", layers=("", "-static")),
            (Known(Outcome.OK, "weights count, and inputs may be in any precision", formats=_CT),),
        ),
        **dict.fromkeys(
            ("CK600/weight-integers", "CK600/weight-integers-static"),
            (Known(_SILENT, "an INT8 scheme is taken", formats=_CT),),
        ),
        **dict.fromkeys(
            ("CK600/weight-integers-blocks", "CK600/weight-integers-experts"),
            (Known(_ERROR, "no INT8 scheme for blocks or experts", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-asymmetric"),
            (
                Known(_ERROR, "no scheme for asymmetric weights", formats=_CT),
                Known(Outcome.OK, "the key is not looked at", formats=_QUARK),
            ),
        ),
        **dict.fromkeys(
            about("weight-axis", "input-axis"),
            (Known(Outcome.OK, "the axis is not looked at", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about(*WITHOUT_SCHEME),
            (Known(_ERROR, "no scheme is found", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about(
                *("stored-dense", "stored-otherwise", "stored-mxfp4-pack", "stored-mxfp8", "other-groups"),
                *("stored-pack", "stored-pack-alone"),
            ),
            (Known(_ERROR, "no scheme is found", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-int", "stored-nvfp4-pack"),
            (Known(Outcome.OK, "the scheme counts, and not what the storage is called", formats=_CT, where=_STORAGES),),
        ),
        **dict.fromkeys(
            about(*REFUSED_BY_LIBRARY),
            (Known(_ERROR, "the config is refused", formats=_CT),),
        ),
        **dict.fromkeys(
            about("inputs-empty", "outputs-empty"),
            (Known(Outcome.OK, "an empty object is taken for nothing", formats=_CT, where=_GROUPS),),
        ),
        **dict.fromkeys(
            about("no-groups"),
            (Known(_ERROR, _UNKNOWN_NAME, formats=_CT),),
        ),
        **dict.fromkeys(
            about("layers-missing", "no-list"),
            (Known(_ERROR, "the config is refused", formats=("modelopt",)),),
        ),
        **dict.fromkeys(
            about("kv-group"),
            (Known(Outcome.OK, "a text is read letter by letter, and an object by its keys", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("kv-group-of-none"),
            (Known(_ERROR, "kv_cache_group without entries of layer_quant_config", formats=_QUARK),),
        ),
        **dict.fromkeys(
            about("input-bits", layers=("", "-static", "-experts")),
            (Known(_ERROR, "the config is refused", formats=_CT),),
        ),
        **dict.fromkeys(
            about("weight-format", "weight-format-fake"),
            (Known(Outcome.OK, "the word is not looked at", formats=_QUARK),),
        ),
    }
)
