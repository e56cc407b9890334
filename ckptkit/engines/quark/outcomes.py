"""What each defect does in Quark, by the code of the rule that finds it."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import ALWAYS, Known, Outcome, Outcomes

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK116/beside": (),
        "CK207/fused": (Known(_ERROR, "misses the keys of single experts"),),
        "CK207/fused-codes": (Known(_ERROR, "misses the keys of single experts"),),
        "CK207/fused-misplaced": (Known(_ERROR, "misses the keys of single experts"),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        "CK608/built": (Known(_SILENT, "builds the module quantized"),),
        "CK608/left-alone": (Known(_ERROR, "leaves the module alone"),),
        "CK621": (Known(_ERROR, "misses the keys of the input quantizers"),),
        "CK629/quark-export": (Known(_ERROR, "refuses the config"),),
        "CK629/quark": (Known(_ERROR, "refuses the config"),),
        "CK629/quark-fp8": (Known(_ERROR, "refuses the config"),),
        "CK805": (Known(_ERROR, "refuses partial blocks; at the first request"),),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
    }
)
