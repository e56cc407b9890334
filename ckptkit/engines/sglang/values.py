"""What values of configs that are not understood (CK600) do in SGLang: what its readers of configs make of them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.sglang.classes import STAND_IN, STRICT

_ERROR, _SILENT = Outcome.ERROR, Outcome.SILENT
_UNKNOWN_NAME = "no parameter has this name"
_CT, _QUARK = ("compressed-tensors",), ("quark",)
#: The layers that values of a config are about: any, those in blocks, experts, or those with scales of inputs.
_WHERE = ("", "-blocks", "-experts", "-static")
#: What the classes of compressed-tensors itself refuse.
_REFUSED_BY_LIBRARY = ("blocks-without-size", "groups-without-size", "weight-bits", "word", "no-weights")
_NO_GRANULARITY = ("weight-granularity", "default-missing", "bias")
#: What Quark's configs say where no scheme is found for a layer.
_NO_SCHEME = (*(f"{role}-{what}" for role in ("weight", "input") for what in ("e5m2", "dtype")), *_NO_GRANULARITY)

VALUES: Outcomes = MappingProxyType(
    {
        "CK600/fake": (Known(_SILENT, "weights are cast to FP8 by value"),),
        **dict.fromkeys(
            (f"CK600/weight-four-bits{where}" for where in _WHERE),
            (Known(_ERROR, "floats of four bits are known in one layout only", formats=_CT),),
        ),
        "CK600/weight-integers": (Known(_SILENT, "an INT8 scheme is taken", formats=_CT),),
        **dict.fromkeys(
            (f"CK600/{what}{where}" for what in ("input-integers", "input-asymmetric") for where in ("", "-static")),
            (Known(Outcome.OK, "weights count, and inputs may be in any precision", formats=_CT),),
        ),
        **dict.fromkeys(
            (f"CK600/weight-four-bits-alone{where}" for where in ("", "-static")),
            (Known(Outcome.OK, "the number of bits is not looked at without inputs", formats=_CT),),
        ),
        **dict.fromkeys(
            ("CK600/weight-integers-blocks", "CK600/weight-integers-experts", "CK600/weight-integers-static"),
            (Known(_ERROR, "no INT8 scheme for blocks, experts or scales of inputs", formats=_CT),),
        ),
        **dict.fromkeys(
            (f"CK600/weight-asymmetric{where}" for where in ("", "-experts", "-static")),
            (
                Known(_ERROR, "no scheme for asymmetric weights", formats=_CT),
                Known(Outcome.OK, "the key is not looked at", formats=_QUARK),
            ),
        ),
        "CK600/weight-asymmetric-blocks": (Known(_ERROR, "no scheme for asymmetric weights", formats=_CT),),
        **dict.fromkeys(
            (f"CK600/{what}{where}" for what in ("weight-axis", "input-axis") for where in ("", "-experts", "-static")),
            (Known(Outcome.OK, "the axis is not looked at", formats=_QUARK),),
        ),
        **dict.fromkeys(
            (f"CK600/{what}{where}" for what in _NO_SCHEME for where in _WHERE),
            (Known(_ERROR, "no scheme is found", formats=_QUARK),),
        ),
        **dict.fromkeys(
            (
                f"CK600/{what}{where}"
                for what in ("stored-dense", "stored-otherwise", "other-groups")
                for where in _WHERE
            ),
            (Known(_ERROR, "no scheme is found", formats=_CT),),
        ),
        **dict.fromkeys(
            (f"CK600/{what}{where}" for what in _REFUSED_BY_LIBRARY for where in _WHERE),
            (Known(_ERROR, "the config is refused", formats=_CT),),
        ),
        **dict.fromkeys(
            (f"CK600/no-groups{where}" for where in _WHERE),
            (
                Known(_SILENT, "no quantization is found: codes are taken for values", formats=_CT),
                Known(_ERROR, _UNKNOWN_NAME, formats=_CT, architectures=(*STRICT, STAND_IN)),
            ),
        ),
        **dict.fromkeys(
            (f"CK600/weight-format{where}" for where in _WHERE),
            (Known(Outcome.OK, "the word is not looked at", formats=_QUARK),),
        ),
        "CK600/no-object": (Known(_ERROR, "AttributeError: 'str' object has no attribute 'to_dict'"),),
    }
)
