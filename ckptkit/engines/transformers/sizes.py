"""What sizes do in transformers that are not those of config.json, by the code of the rule that finds them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes

_ERROR, _SILENT = Outcome.ERROR, Outcome.SILENT
_HEADS = "core_model_loading.py (set_param_for_module), integrations/sdpa_attention.py (use_gqa_in_sdpa)"
MADE_UP = "an FP8 weight that is missing cannot be made up"

SIZES: Outcomes = MappingProxyType(
    {
        "CK312": (Known(_ERROR, "quantized weights keep their stored shape, and do not fit each other"),),
        **dict.fromkeys(
            ("CK312/cut", "CK312/short", "CK312/hidden", "CK312/table", "CK312/keys-cut"),
            (Known(Outcome.OK, "weights keep their stored shape, and fit each other"),),
        ),
        **dict.fromkeys(
            ("CK312/head-size-cut", "CK312/head-size-short"), (Known(_SILENT, "other heads than were trained"),)
        ),
        "CK312/heads-found": (Known(Outcome.OK, "heads are counted in what is stored", where=_HEADS),),
        "CK312/heads-other": (Known(_SILENT, "other heads than were trained", where=_HEADS),),
        "CK312/heads-lost": (Known(_ERROR, "heads do not fit each other; at the first request", where=_HEADS),),
        "CK312/keys-one": (Known(_SILENT, "the one head of keys is taken for all"),),
        **dict.fromkeys(("CK312/router", "CK312/router-in-part"), (Known(_ERROR, "shapes do not fit"),)),
        "CK312/dense-layer": (Known(_ERROR, MADE_UP),),
    }
)
