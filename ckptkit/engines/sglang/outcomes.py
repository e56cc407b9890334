"""What each defect does in SGLang, by the code of the rule that finds it."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import ALWAYS, Known, Outcome, Outcomes, Range

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_UNKNOWN_NAME = "no parameter has this name"
_UNSET = "the scale keeps the value it was allocated with"
_ASSERTION = "assertion without a message"

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK104": (Known(_SILENT, "weights stay uninitialised", Range(until="2026-08")),),
        "CK105": (Known(_SILENT, "the parameter keeps its first value"),),
        "CK105/elsewhere": (),
        "CK106": (),
        "CK107": (Known(_SILENT, "the last copy wins"),),
        "CK114": (Known(_SILENT, "nothing looks for missing tensors"),),
        "CK114/prediction": (),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK201": (Known(_SILENT, _UNSET),),
        "CK202": (),
        "CK202/beside-declared": (Known(_SILENT, "the scale is loaded beside a weight that was cast by value"),),
        "CK202/weight-lost": (Known(_SILENT, "the weight keeps what it was allocated with"),),
        "CK203": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK204": (Known(_WARNING, "the tensor is skipped"),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK206": (Known(_SILENT, "weights of unknown names are dropped"),),
        "CK301": (Known(_ERROR, "wants [N, 1]"),),
        "CK302": (Known(_ERROR, "assertion without a message"),),
        "CK304": (Known(_ERROR, _ASSERTION),),
        "CK306": (Known(_ERROR, "the parameter's loader stops at the shape"),),
        "CK308": (Known(_ERROR, "depends on the GEMM backend"),),
        "CK310": (Known(_ERROR, "no kernel; at the first request"),),
        "CK312": (Known(_SILENT, "too much is cut off, and what is too small leaves the rest unset"),),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK402": (Known(_SILENT, "exponents are copied as numbers on some paths"),),
        "CK403": (Known(_SILENT, "bytes are used as numbers"),),
        "CK404": (Known(_SILENT, "the mantissa is dropped on Blackwell"),),
        "CK405": (Known(_SILENT, "cast by value"),),
        "CK406": (Known(_SILENT, "cast by value"),),
        "CK410": (Known(_SILENT, "converted by value"),),
        "CK501": (Known(_SILENT, "rows of zeros"),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK601": (Known(_SILENT, "codes are taken for values"),),
        "CK601/kv-scales": (),
        "CK602": (Known(_ERROR, "quantized weights expected"),),
        "CK603": (),
        "CK605": (Known(_SILENT, "cast to FP8 by value"),),
        "CK607": (),
        "CK608/built": (Known(_SILENT, "builds the module quantized"),),
        "CK608/left-alone": (Known(_ERROR, "leaves the module alone"),),
        "CK610": (Known(_SILENT, "fused names are not recognised", Range(until="2026-06")),),
        "CK611": (Known(_SILENT, "the head's scale is dropped"),),
        "CK612": (Known(_SILENT, "the tower runs without scales"),),
        "CK613": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK614": (Known(_SILENT, "no drafted token is accepted"),),
        "CK619": (Known(_ERROR, "unknown keys are refused"),),
        "CK619/ignored": (),
        "CK619/recent": (Known(_ERROR, "unknown keys are refused", Range(until="0.13", of="compressed-tensors")),),
        "CK621": (Known(_SILENT, "the scale keeps the value it was allocated with"),),
        "CK622": (),
        "CK623": (Known(_ERROR, "unknown method"),),
        "CK624": (Known(_ERROR, "refused"),),
        "CK629/compressed-tensors": (Known(_ERROR, "refuses the config"),),
        "CK631": (Known(_ERROR, "the load never ends"),),
        "CK632": (Known(_ERROR, "division by zero heads"),),
        "CK701": (Known(_ERROR, "different schemes"),),
        "CK703": (Known(_SILENT, "BF16 values land in an FP8 parameter"),),
        "CK801": (Known(_ERROR, "output size not divisible by block_n"),),
        "CK901": (Known(_WARNING, "1.0 is used"),),
        "CK902": (Known(_SILENT, "scales are dropped"),),
        "CK903": (Known(_SILENT, "1.0 is used"),),
        "CK904": (Known(_SILENT, "the other scale stays as it is allocated"),),
        "CK905": (Known(_WARNING, "1.0 is used"),),
        "CK906": (
            Known(_SILENT, "what is not positive becomes 1.0", formats=("quark",)),
            Known(_SILENT, "used as it is", formats=("compressed-tensors", "modelopt")),
        ),
        "CK907": (Known(_ERROR, "expects a scalar"),),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
        "CK912": (),
        "CK912/dynamic": (),
    }
)
