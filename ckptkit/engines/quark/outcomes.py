"""What each defect does in Quark, by the code of the rule that finds it, as run on a CPU.

Its importer wants every key of the state that it builds, and every one in its size; what is left over it drops without
a word. Scales under older names are renamed before.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.quark.values import VALUES
from ckptkit.engines.releases import ALWAYS

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_MISSES = "ValueError: The loaded checkpoint misses the keys"
_SIZE = "RuntimeError: size mismatch, for a parameter that it builds"
_TYPES = "RuntimeError: expected m1 and m2 to have the same dtype"
#: They are no linear layers in most classes; the gate of a shared expert is one.
_PLAIN_ROUTERS = Known(Outcome.OK, "routers are left plain", layers=(Layer.ROUTER,))
_DROPPED = Known(Outcome.OK, "what nothing is built for is left out")

_ROWS: Outcomes = {
    "CK101": (Known(_ERROR, "header too large", ALWAYS),),
    "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
    "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
    "CK104": (Known(_ERROR, "FileNotFoundError"),),
    **dict.fromkeys(("CK105", "CK107/same"), ()),
    "CK107": (
        Known(Outcome.UNKNOWN, "files are read in the order of a set: which copy counts is drawn for every process"),
    ),
    # One file of the usual name is taken before any index (quark/torch/export/safetensors.py).
    **dict.fromkeys(("CK108", "CK108/read-instead/whole", "CK108/copies/read-instead/whole"), ()),
    **dict.fromkeys(("CK108/read-instead", "CK108/copies/read-instead"), (Known(_ERROR, _MISSES),)),
    "CK109": (Known(_ERROR, "FileNotFoundError: neither model.safetensors nor an index of it"),),
    "CK113": (Known(_ERROR, "ValueError: The loaded checkpoint misses the weight keys of the head"),),
    **dict.fromkeys(("CK113/head-stored", "CK113/head-same"), ()),
    "CK113/head-stored/quantized": (Known(_ERROR, _TYPES),),
    "CK114": (Known(_ERROR, _MISSES),),
    # Its classes are transformers', which build no layers that predict.
    "CK114/prediction": (),
    "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
    "CK116/beside": (),
    "CK201": (Known(_ERROR, _MISSES),),
    "CK202/beside-declared": (Known(_SILENT, "what is stored is cast by value, and multiplied by the scale"),),
    "CK202/weight-lost": (Known(_ERROR, _MISSES),),
    "CK204": (),
    "CK204/inverse": (Known(_ERROR, "ValueError: invalid literal for int() with base 10: 'inv'"),),
    "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
    "CK206": (Known(_ERROR, _MISSES),),
    **dict.fromkeys(("CK207", "CK210"), (Known(_ERROR, _MISSES),)),
    # Its classes say which names it looks for (classes.py).
    "CK207/misplaced": (),
    **dict.fromkeys(
        ("CK207/fused", "CK207/fused-codes", "CK207/fused-misplaced"),
        (Known(_ERROR, "misses the keys of single experts"),),
    ),
    "CK208": (_DROPPED,),
    **dict.fromkeys(("CK301", "CK302", "CK303", "CK304", "CK306", "CK312"), (Known(_ERROR, _SIZE),)),
    "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
    "CK403": (Known(_SILENT, "bytes are taken for numbers"),),
    "CK405": (Known(_SILENT, "the numbers are off by a factor of two"),),
    "CK406": (Known(_SILENT, "garbage or NaN"),),
    "CK407": (Known(_SILENT, "cast by value"),),
    "CK409": (Known(_ERROR, "RuntimeError: Promotion for Float8 Types is not supported"),),
    "CK410/double": (),
    "CK501": (Known(_SILENT, "rows of zeros, or NaN"),),
    "CK502": (Known(_SILENT, "garbage", ALWAYS),),
    "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
    "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
    "CK505": (Known(_SILENT, "garbage", ALWAYS),),
    "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS),),
    "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
    **VALUES,
    "CK602": (Known(_ERROR, f"{_MISSES} of scales"),),
    **dict.fromkeys(
        ("CK602/beside-scales", "CK602/beside-scales-dynamic-inputs"),
        (Known(_SILENT, "weights are cast by value, and multiplied by their scales"),),
    ),
    **dict.fromkeys(("CK602/beside-scales/codes", "CK602/beside-scales-dynamic-inputs/codes"), ()),
    "CK605": (Known(_ERROR, f"{_MISSES} of scales"), _PLAIN_ROUTERS),
    "CK605/beside-scales": (),
    "CK606": (Known(_ERROR, _TYPES),),
    "CK606/tied-head": (Known(_ERROR, _TYPES),),
    "CK608/built": (Known(_ERROR, f"builds the module quantized: {_MISSES}"), _PLAIN_ROUTERS),
    "CK608/left-alone": (Known(_ERROR, "leaves the module alone"),),
    "CK621": (Known(_ERROR, "misses the keys of the input quantizers"),),
    "CK620/key": (Known(_SILENT, "no config is found, and codes are taken for values"),),
    "CK622": (_DROPPED,),
    "CK623/case": (Known(_ERROR, "ValueError: Unsupported quantization method"),),
    # Blocks are not looked at, and any word but "dynamic" stands for static inputs.
    **dict.fromkeys(("CK624", "CK624/scheme/stored", "CK624/scheme-letters/stored", "CK624/scheme/null"), ()),
    **dict.fromkeys(("CK624/scheme", "CK624/scheme-letters"), (Known(_ERROR, f"{_MISSES} of the input quantizers"),)),
    "CK624/scheme/null/stored": (Known(_SILENT, "inputs are not rounded, whatever scales are stored for them"),),
    "CK624/scheme-unsaid": (Known(_ERROR, "KeyError: 'activation_scheme'"),),
    **dict.fromkeys(("CK627/null-key", "CK627/missing-list", "CK627/kv-group", "CK627/spec-list"), ()),
    "CK627/kv-no-layers": (Known(_SILENT, "scales of the KV cache are left out"),),
    "CK627/dynamic-weights": (Known(_ERROR, "AssertionError: Dynamic quantization is not supported for weights"),),
    "CK627/outputs": (Known(_ERROR, "AssertionError: QParamsLinear with the output static quantized"),),
    "CK627/empty-list": (
        Known(_ERROR, "AssertionError: SequentialRealQuantizer must contain at least one tensor quantizer"),
    ),
    "CK629/quark-export": (Known(_ERROR, "refuses the config"),),
    "CK629/quark-export/null": (),
    "CK629/quark": (Known(_ERROR, "refuses the config"),),
    "CK629/quark-fp8": (Known(_ERROR, "refuses the config"),),
    "CK633": (Known(_ERROR, "ValueError: Unrecognized model"),),
    "CK633/architectures": (Known(_ERROR, "ValueError: Cannot determine model class"),),
    "CK701": (),
    "CK805": (Known(_ERROR, "refuses partial blocks; at the first request"),),
    "CK901": (Known(_ERROR, f"{_MISSES} of output quantizers", formats=("quark",)),),
    "CK903": (),
    **dict.fromkeys(
        ("CK903/not-own", "CK903/below-attention", "CK905"), (Known(_ERROR, f"{_MISSES} of output quantizers"),)
    ),
    "CK904": (Known(_ERROR, f"{_MISSES} of output quantizers", formats=("quark",)),),
    "CK904/k": (Known(_ERROR, "KeyError: v_scale"),),
    "CK906": (Known(_SILENT, "used as it is"),),
    "CK907": (Known(_ERROR, _SIZE),),
    "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
}

#: Its dialects: what becomes of others, which it does not read, is nothing to it.
_OWN = ("quark", "quark-fp8")
OUTCOMES: Outcomes = MappingProxyType(
    {
        code: tuple(row if row.formats or row.versions is ALWAYS else replace(row, formats=_OWN) for row in rows)
        for code, rows in _ROWS.items()
    }
)
