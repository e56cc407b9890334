"""What each defect does in llama.cpp's converter, by the code of the rule that finds it.

It stops, or writes a GGUF with other numbers. A GGUF whose tensors do not fit its own metadata is written without a
word, and refused by everything that loads it.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.llamacpp.classes import MODULES
from ckptkit.engines.llamacpp.gathering import QUIET
from ckptkit.engines.releases import ALWAYS, Range

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_UNMAPPED = "ValueError: Can not map tensor ..."
_FP8 = ("fp8", "fp8-block", "fp8-transformers", "quark-fp8")
#: Quark's config of this method has other names for scales than the converter: which ones are stored decides.
_BY_NAME = Known(Outcome.OK, "known by the names that plain FP8 has", formats=("quark-fp8",))
_MULTIPLIED = ("compressed-tensors", *_FP8)
_VALUES = "codes are taken for values"
_UNLOADABLE = "a GGUF is written that nothing loads: its tensors do not fit its metadata"
_BROADCAST = "RuntimeError: Attempting to broadcast a dimension ..."
_SCALED_AGAIN = Known(_SILENT, "weights are multiplied with their scales once more")
#: Classes that look at the number of a layer first.
_LEAVE_OUT = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")
_GROUPS = "NotImplementedError: Can't handle multiple config groups for compressed-tensors yet"
#: Since ggml-org/llama.cpp#17069; before, no such config was read at all.
_COMPRESSED_TENSORS = Range(since="2025-11")
#: Of ModelOpt a scale without its weight ended the conversion on 2026-05-11, and not on 2026-06-07.
_LOST_UNTIL = "2026-06"
_LOST = "KeyError: the scale's weight"

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "a tensor ends beyond the file", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK104": (Known(_ERROR, "no such file"),),
        "CK105": (Known(_ERROR, "missing tensors"),),
        "CK105/elsewhere": (),
        "CK106": (Known(_ERROR, "ValueError: Mismatch between weight map and model parts"),),
        "CK107": (Known(_SILENT, "the copy of the last file counts"),),
        "CK107/same": (),
        "CK108": (),
        "CK109": (),
        "CK111": (),
        "CK113": (),
        "CK114": (
            Known(_SILENT, _UNLOADABLE),
            Known(Outcome.OK, "what is missing is told by its name", architectures=tuple(MODULES)),
        ),
        "CK114/experts": (
            Known(_ERROR, "ValueError: Unprocessed experts"),
            Known(_SILENT, _UNLOADABLE, architectures=QUIET),
        ),
        "CK114/prediction": (),
        "CK114/router": (Known(_SILENT, _UNLOADABLE),),
        **dict.fromkeys(("CK114/tower", "CK114/tower-built", "CK114/tower-unknown"), ()),
        "CK115": (Known(_ERROR, "no such file"),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK116/beside": (),
        "CK118": (
            Known(_ERROR, _UNMAPPED),
            Known(Outcome.OK, "layers beyond the config's count are left out", architectures=_LEAVE_OUT),
        ),
        "CK201": (Known(_SILENT, _VALUES),),
        "CK201/throughout/values": (),
        "CK202": (Known(_SILENT, "the weight is multiplied with it"),),
        "CK202/of-ones": (Known(Outcome.OK, "the weight is multiplied with ones"),),
        "CK202/weight-lost": (
            Known(_ERROR, _LOST, formats=_MULTIPLIED),
            Known(_ERROR, _LOST, Range(until=_LOST_UNTIL), formats=("modelopt",)),
            Known(_SILENT, _UNLOADABLE, Range(since=_LOST_UNTIL), formats=("modelopt",)),
            Known(_ERROR, "ValueError: Unprocessed experts", layers=(Layer.EXPERT,)),
        ),
        "CK203": (Known(_ERROR, _UNMAPPED),),
        "CK204": (Known(_ERROR, _UNMAPPED), _BY_NAME),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK206": (),
        "CK207": (),
        "CK208": (Known(_ERROR, _UNMAPPED), _BY_NAME),
        "CK209": (Known(_SILENT, "1.0 stands in for what is missing"),),
        "CK209/scale": (Known(_ERROR, _UNMAPPED),),
        # What is missing is not written, and no class asks for it.
        "CK209/inputs": (),
        "CK210": (Known(_SILENT, "the layer has no bias"),),
        "CK301": (),
        "CK301/lying": (Known(_ERROR, _BROADCAST),),
        "CK301/lying-square": (Known(_SILENT, "broadcast along the columns"),),
        "CK302": (),
        "CK303": (),
        "CK304": (),
        "CK305": (),
        "CK306": (),
        "CK306/one-value": (Known(_SILENT, "one value is broadcast where rows have their own"),),
        "CK306/one-value-throughout": (),
        "CK307": (Known(_SILENT, _UNLOADABLE),),
        "CK308": (Known(_SILENT, "integers are converted by value"),),
        "CK309": (Known(_ERROR, _BROADCAST),),
        "CK310": (),
        "CK311": (),
        "CK312": (
            Known(_SILENT, _UNLOADABLE),
            Known(Outcome.OK, "the sizes themselves tell", architectures=tuple(MODULES)),
        ),
        "CK312/dense-layer": (),
        "CK313": (),
        "CK314": (Known(_SILENT, _UNLOADABLE),),
        "CK315": (),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK402": (Known(_ERROR, "KeyError: 'F8_E8M0'", Range(until="2026-07")),),
        "CK403": (Known(_SILENT, "bytes are used as numbers"),),
        "CK404": (),
        "CK405": (Known(_ERROR, "KeyError: 'F8_E4M3FNUZ'"),),
        "CK406": (),
        "CK407": (Known(_SILENT, "integers are converted by value"),),
        "CK408": (),
        "CK409": (Known(_SILENT, _VALUES),),
        "CK410": (Known(_SILENT, "converted by value"),),
        "CK410/double": (),
        "CK411": (Known(_SILENT, "bytes are taken for scales"),),
        "CK501": (Known(_SILENT, "rows of zeros"),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN weights", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS),),
        "CK506": (),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        "CK600": (),
        "CK601": (),
        "CK601/no-scales": (Known(Outcome.UNKNOWN, f"{_VALUES}, which may be what was meant"),),
        "CK601/no-scales/codes": (Known(_SILENT, _VALUES),),
        "CK601/no-scales/values": (),
        "CK602": (),
        "CK602/beside-scales": (_SCALED_AGAIN,),
        "CK602/beside-scales-dynamic-inputs": (_SCALED_AGAIN,),
        **dict.fromkeys(("CK602/beside-scales/codes", "CK602/beside-scales-dynamic-inputs/codes"), ()),
        **dict.fromkeys(("CK603", "CK604", "CK605", "CK606", "CK607", "CK608", "CK609", "CK610", "CK611"), ()),
        "CK612": (Known(_ERROR, "with --mmproj: the tower's scales are left over", option="--mmproj"),),
        **dict.fromkeys(("CK613", "CK614", "CK615", "CK616"), ()),
        "CK616/several": (Known(_ERROR, _GROUPS, _COMPRESSED_TENSORS),),
        "CK617": (Known(_ERROR, _GROUPS),),
        "CK618": (),
        "CK618/format": (Known(_ERROR, "KeyError: 'format'"),),
        "CK618/preset-group": (Known(_ERROR, "TypeError: list indices must be integers or slices, not str"),),
        "CK619": (),
        "CK620": (),
        "CK621": (),
        "CK622": (Known(_ERROR, _UNMAPPED, formats=_MULTIPLIED),),
        "CK623": (),
        "CK624": (),
        "CK625": (),
        "CK626": (Known(_ERROR, _UNMAPPED),),
        "CK627": (),
        "CK628": (),
        "CK629": (),
        "CK631": (),
        "CK632": (Known(_ERROR, "a size that is no number, or nothing to divide by"),),
        "CK632/activation": (),
        "CK632/layer-types": (),
        "CK632/missing": (Known(_SILENT, _UNLOADABLE),),
        "CK633": (),
        "CK634": (),
        "CK635": (),
        "CK636": (),
        "CK701": (),
        "CK702": (Known(_ERROR, _GROUPS, formats=("compressed-tensors",)),),
        "CK703": (),
        "CK704": (),
        "CK705": (),
        "CK801": (),
        "CK803": (),
        "CK804": (),
        "CK805": (),
        **dict.fromkeys((f"CK9{number:02}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)), ()),
    }
)
