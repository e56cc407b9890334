"""What defects of a cache's scales do in SGLang, by the code of the rule that finds them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import ALWAYS
from ckptkit.engines.sglang.cache import DROPS, SKIP_ONE_SCALE
from ckptkit.engines.sglang.classes import (
    NO_KV_SCALES,
    STAND_IN,
    STOP_AT_KV_OF_PROJECTIONS,
    STOP_AT_UNKNOWN,
    STRICT,
)

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_UNKNOWN_NAME = "no parameter has this name"
_CT = ("compressed-tensors",)
_DROPPED = "the class loads no scales of keys and values"
_NO_KV = (
    Known(Outcome.OK, _DROPPED, architectures=NO_KV_SCALES),
    # Those of a merged projection, as this format stores them.
    Known(Outcome.OK, _DROPPED, formats=("quark",), architectures=("Phi3ForCausalLM",)),
)

CACHE: Outcomes = MappingProxyType(
    {
        "CK208/kv-both": (
            Known(_SILENT, "1.0 is used, or values share the scale of keys"),
            Known(_ERROR, _UNKNOWN_NAME, architectures=(STAND_IN, *STOP_AT_UNKNOWN)),
            Known(_SILENT, "it is skipped, and 1.0 is used", architectures=SKIP_ONE_SCALE),
        ),
        "CK901": (
            Known(_WARNING, "1.0 is used"),
            Known(Outcome.UNKNOWN, "1.0 is used, and what was meant is not known", formats=_CT),
            Known(Outcome.UNKNOWN, "1.0 is used, which the exporter may mean by no scales", formats=("modelopt",)),
            Known(Outcome.UNKNOWN, "1.0 is used, and what was meant is not known", formats=("quark-fp8",)),
            *_NO_KV,
        ),
        "CK902": (),
        "CK903": (
            Known(_SILENT, "1.0 is used", architectures=STRICT),
            Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_AT_KV_OF_PROJECTIONS, regardless=True),
        ),
        "CK903/query": (
            Known(Outcome.OK, "the scale is skipped"),
            Known(_ERROR, _UNKNOWN_NAME, architectures=(*STRICT, *STOP_AT_UNKNOWN), regardless=True),
        ),
        "CK903/on-projection": (
            Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_AT_KV_OF_PROJECTIONS, regardless=True),
        ),
        "CK903/below-attention": (),
        "CK903/not-own": (),
        "CK904": (Known(_SILENT, "the other scale stays as it is allocated"), *_NO_KV),
        "CK905": (Known(_WARNING, "1.0 is used"), *_NO_KV),
        "CK906": (Known(_SILENT, "used as it is; a Quark reader takes 1.0 for what is not positive"), *_NO_KV),
        "CK907": (Known(_ERROR, "expects a scalar"), *_NO_KV),
        **dict.fromkeys(("CK907/other-number", "CK907/other-rank", "CK907/single"), ()),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
        **{
            f"CK908/{place.name.lower()}": (
                Known(_WARNING, "as good as no scales", ALWAYS),
                Known(Outcome.OK, "1.0 is used all the same", architectures=classes, leaves_out=(Layer.KV_CACHE,)),
            )
            for place, classes in DROPS.items()
        },
        # CompressedTensorsKVCacheMethod.is_supported_scheme
        "CK912": (
            Known(Outcome.OK, "the scheme is dropped, and the cache stays as it is", leaves_out=(Layer.KV_CACHE,)),
        ),
        "CK912/symmetric-unsaid": (),
    }
)
