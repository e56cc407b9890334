"""What each defect does in transformers, by the code of the rule that finds it."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes, rows_of
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import ALWAYS, Evidence, Range
from ckptkit.engines.transformers.classes import KEPT_ROUTERS, LINEAR_ROUTERS, MERGED_BY_ONE_NAME, MERGED_EXPERTS
from ckptkit.engines.transformers.plain_fp8 import OF_PLAIN_FP8
from ckptkit.engines.transformers.sizes import MADE_UP, SIZES
from ckptkit.engines.transformers.values import VALUES

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
#: Releases of the library below that tell blocks by the shapes of scales, and that hold every module to its group.
_GUESSES = Range(until="0.19", of="compressed-tensors")
_TOLD = Range(since="0.19", of="compressed-tensors")
_CONTAINERS = Range(until="0.18", of="compressed-tensors")
_FP8 = ("fp8", "fp8-block", "fp8-transformers")
_CT, _QUARK = ("compressed-tensors",), ("quark",)
_NOT_LINEAR = (Layer.ROUTER, Layer.EXPERT)
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.GATE, Layer.HEAD, Layer.TOWER)
_TEXT = (Layer.HEAD, Layer.LINEAR, Layer.FUSED)
#: What has another name in memory than in files keeps its stored type.
_LOADING = "core_model_loading.py (dtype casting)"
_KEPT = "leaves the module alone: codes stay codes, and dtypes do not fit; at the first request"
_OF_OTHERS = "missing scales are made up, and taken for those of channels or other blocks; at the first request"
_IN_FLOAT32 = "the weight gets the type of its second scale, and dtypes do not fit; at the first request"
_DEQUANTIZE = "compressed_tensors/quantization/lifecycle/forward.py (dequantize)"
_FILE = "modeling_utils.py (_get_resolved_checkpoint_files)"

#: What becomes of a module in high precision that no list names.
_UNLISTED = (
    Known(_WARNING, "missing scales are listed"),
    Known(Outcome.OK, "neither routers nor experts are linear layers to it", layers=_NOT_LINEAR),
    Known(_WARNING, "missing scales are listed", architectures=LINEAR_ROUTERS, layers=(Layer.ROUTER,)),
)


def _beside(variant: str) -> tuple[str, ...]:
    """The variants of a file beside the shards, whatever it holds."""
    return tuple(f"CK108/{what}{variant}" for what in ("", "copies/", "prediction/"))


#: What is known of all formats, or of others than plain FP8.
_OF_ALL: Outcomes = MappingProxyType(
    {
        "CK501": (Known(_SILENT, "rows of zeros"),),
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK104": (Known(_ERROR, "missing file"),),
        "CK105": (Known(_WARNING, "missing keys are listed and filled at random"),),
        **dict.fromkeys(("CK105/elsewhere", "CK105/bias-of-none", "CK105/scale-of-none"), ()),
        "CK107": (Known(_SILENT, "the last copy wins"),),
        **dict.fromkeys(("CK107/same", "CK107/indexed-last"), ()),
        **dict.fromkeys(("CK108", *_beside("read-instead/whole")), ()),
        **dict.fromkeys(
            _beside("read-instead"),
            (Known(_WARNING, "it is read in place of the shards; what it lacks is made up", where=_FILE),),
        ),
        **dict.fromkeys(
            _beside("read-instead/codes-lost"),
            (Known(_ERROR, f"it is read in place of the shards; {MADE_UP}", where=_FILE),),
        ),
        "CK109": (Known(_ERROR, "no file of the expected name"),),
        "CK109/one-is-read": (Known(_WARNING, "model.safetensors alone is read; what it lacks is made up"),),
        "CK111": (Known(_ERROR, "unknown metadata format", Range(until="4.36")),),
        "CK113": (Known(_WARNING, "a missing head is made up and listed"),),
        **dict.fromkeys(("CK113/levels/outer-right", "CK113/levels/inner-right/stored"), ()),
        "CK113/head-stored": (Known(Outcome.OK, "a stored head that differs is kept"),),
        "CK113/head-same": (),
        "CK114": (Known(_ERROR, MADE_UP),),
        "CK114/prediction": (),
        "CK114/router": (Known(_WARNING, "the router is made up at random, and listed as missing"),),
        "CK114/tower": (Known(_WARNING, "the tower is made up at random, and listed as missing"),),
        "CK114/tower-built": (Known(_ERROR, MADE_UP),),
        "CK114/tower-unknown": (),
        "CK115": (Known(_ERROR, "file not found", ALWAYS),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK116/beside": (),
        "CK118": (Known(_WARNING, "the layers are left out and listed as unexpected"),),
        "CK118/stray": (),
        "CK118/copies": (Known(Outcome.UNKNOWN, "layers that repeat others are left out, which may be meant"),),
        "CK201": (Known(_WARNING, "missing keys are listed; the scale is made up"),),
        "CK202": (),
        "CK202/weight-lost": (Known(_ERROR, "an FP8 weight that is missing cannot be made up"),),
        "CK202/beside-declared": (Known(_WARNING, "values are taken for codes"),),
        "CK203": (
            Known(_WARNING, "listed as missing and unexpected; the scale is made up"),
            Known(
                _ERROR,
                "dtypes do not fit; at the first request",
                formats=("compressed-tensors",),
                layers=(Layer.EXPERT,),
            ),
        ),
        "CK204": (Known(Outcome.OK, "names of quantizers are known"),),
        "CK204/bare": (
            Known(_WARNING, "listed as missing and unexpected", how=Evidence.SOURCE),
            Known(
                Outcome.OK, "renamed to weight_scale_inv", formats=_FP8, where="quantizers/quantizer_finegrained_fp8.py"
            ),
        ),
        "CK204/inverse": (Known(_WARNING, "weight_scale_inv is listed as unexpected"),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK206": (
            Known(_ERROR, MADE_UP),
            Known(
                Outcome.OK, "which prefixes lead to its layers is known", architectures=("Qwen3VLFor", "Qwen3VLMoeFor")
            ),
        ),
        "CK206/part": (
            Known(_ERROR, MADE_UP),
            Known(
                Outcome.UNKNOWN, "its names in memory may be mapped too", architectures=("MiniMaxM2For", "MixtralFor")
            ),
            Known(
                _WARNING,
                "the experts stay at random values, and are listed",
                formats=_CT,
                architectures=MERGED_BY_ONE_NAME,
                layers=(Layer.EXPERT,),
                leaves_out=(Layer.EXPERT,),
            ),
        ),
        "CK206/bare": (Known(Outcome.OK, "names without the prefix are known"),),
        "CK206/twice": (Known(Outcome.OK, "names with the prefix once more are known"),),
        "CK207/unmapped": (Known(_ERROR, "single experts cannot be put together"),),
        "CK207": (Known(_WARNING, "the experts stay at random values, and are listed", leaves_out=(Layer.EXPERT,)),),
        "CK207/fused": (),
        "CK207/one-by-one": (
            Known(
                _WARNING, "the experts stay at random values, and are listed", leaves_out=(Layer.EXPERT, Layer.STACK)
            ),
        ),
        "CK207/one-by-one/quantized": (Known(_ERROR, MADE_UP),),
        "CK207/fused-codes": (Known(_WARNING, "codes are taken for values; scales are listed as unexpected"),),
        "CK207/fused-misplaced": (),
        "CK207/stacked": (),
        "CK208": (),
        "CK208/base-layer/fp8": (Known(_ERROR, MADE_UP),),
        "CK208/stack-scale": (),
        "CK208/only-scale": (Known(_WARNING, "the missing scale is listed and made up"),),
        "CK208/second-scale": (Known(_SILENT, "the quantizer's scale is taken too", formats=("quark",)),),
        "CK210": (Known(_WARNING, "the missing bias is listed and made up"),),
        "CK301": (Known(_ERROR, "shapes do not fit; at the first request"),),
        **dict.fromkeys(
            ("CK301/square", "CK301/lying-square"),
            (
                Known(_SILENT, "the scales of rows are applied to columns", formats=("compressed-tensors",)),
                Known(_ERROR, "shapes do not fit; at the first request", formats=("quark",)),
            ),
        ),
        "CK301/lying/wide": (
            Known(_ERROR, "shapes do not fit; at the first request"),
            Known(_ERROR, "shapes do not fit; at the first request", _TOLD, formats=_CT),
            Known(_SILENT, "the scales of rows are taken for those of groups of columns", _GUESSES, formats=_CT),
        ),
        "CK302": (),
        "CK303": (Known(_SILENT, "broadcast where the sizes allow it"),),
        **dict.fromkeys(("CK303/coarser", "CK303/flat"), (Known(_ERROR, "shapes do not fit; at the first request"),)),
        "CK303/more-rows": (
            Known(_SILENT, "broadcast where the sizes allow it"),
            Known(_ERROR, "shapes do not fit; at the first request", formats=("compressed-tensors",)),
        ),
        "CK303/four": (Known(_ERROR, "shapes do not fit; at the first request"),),
        "CK304": (
            Known(_ERROR, "shapes do not fit; at the first request", formats=(*_CT, *_FP8)),
            Known(_SILENT, "broadcast where the sizes allow it", formats=("quark",)),
        ),
        "CK305": (Known(_ERROR, "shapes do not fit"),),
        "CK306": (
            Known(_ERROR, "shapes do not fit; at the first request"),
            Known(Outcome.OK, "scales by this name are left out", formats=("fp8",)),
        ),
        "CK306/one-value": (Known(_SILENT, "broadcast"),),
        "CK306/one-value-throughout": (
            Known(_SILENT, "broadcast"),
            Known(Outcome.UNKNOWN, "broadcast, which may be what was meant", formats=(*_CT, *_QUARK)),
        ),
        **dict.fromkeys(
            ("CK306/by-row", "CK306/by-column"),
            (
                Known(Outcome.OK, "broadcast as it is stored", formats=("compressed-tensors",)),
                Known(_ERROR, "shapes do not fit; at the first request", formats=("quark",)),
            ),
        ),
        "CK307": (Known(_ERROR, "shapes cannot be multiplied"),),
        "CK308": (Known(_ERROR, "dtypes do not fit"),),
        "CK311": (Known(_ERROR, "shapes do not fit"),),
        "CK309": (Known(_ERROR, MADE_UP),),
        "CK309/linear-attention": (Known(Outcome.OK, "its linear attention has one layer for these parts"),),
        **SIZES,
        "CK315/one-column": (Known(_ERROR, "shapes do not fit; at the first request", _GUESSES),),
        "CK315/misfit": (Known(_ERROR, "shapes do not fit; at the first request", _GUESSES),),
        "CK315/other-blocks": (Known(_SILENT, "scales are taken for those of other blocks", _GUESSES),),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK402": (Known(Outcome.OK, "converted by value, which is right"),),
        "CK403": (
            Known(_ERROR, "dtypes do not fit"),
            Known(_SILENT, "bytes are taken for numbers", formats=_QUARK),
        ),
        "CK405": (Known(_SILENT, "the numbers are twice too small"),),
        "CK406": (Known(_SILENT, "garbage or NaN"),),
        "CK407": (Known(_SILENT, "cast by value"),),
        "CK408": (Known(_ERROR, "a composite model is built in float8", Range(until="5.16"), how=Evidence.REPORT),),
        "CK408/strange": (Known(Outcome.UNKNOWN, "it is not looked at where a type is given when loading"),),
        "CK409": (Known(_SILENT, "converted by value"),),
        "CK410": (Known(_SILENT, "converted by value"),),
        "CK410/double": (
            Known(Outcome.OK, "converted by value"),
            Known(_ERROR, "keys and values become doubles; at the first request", architectures=("Qwen2_5_VLFor",)),
        ),
        "CK506": (Known(Outcome.UNKNOWN, "taken as it is stored: 1.0 may be what was meant"),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        **VALUES,
        "CK601": (Known(_WARNING, "codes are taken for values; the scales are listed as unexpected"),),
        "CK601/no-scales": (Known(Outcome.UNKNOWN, "codes are taken for values, which may be what was meant"),),
        "CK601/no-scales/codes": (Known(_WARNING, "codes are taken for values"),),
        "CK601/no-scales/values": (),
        "CK601/scales": (Known(Outcome.OK, "the scales are listed as unexpected"),),
        "CK601/kv-scales": (Known(_WARNING, "the scales are listed as unexpected"),),
        "CK602": (Known(_WARNING, "missing scales are listed and made up"),),
        "CK602/beside-scales/codes": (
            Known(_WARNING, "missing scales are listed and made up"),
            Known(Outcome.OK, "codes in a wider type are cast back", formats=("compressed-tensors",)),
        ),
        "CK605": _UNLISTED,
        **dict.fromkeys(
            ("CK605/one-column", "CK605/misfit"),
            (
                *_UNLISTED,
                Known(_WARNING, "missing scales are listed", _TOLD, formats=_CT, layers=_LINEAR),
                Known(_ERROR, _OF_OTHERS, _GUESSES, formats=_CT, layers=_LINEAR, where=_DEQUANTIZE),
            ),
        ),
        "CK605/tied-head": (Known(_WARNING, "the head is built quantized, and its scale is made up"),),
        "CK606": (
            Known(_WARNING, "codes are taken for values; the scale is listed as unexpected"),
            Known(
                Outcome.OK,
                "experts are no linear layers to it: no list means them",
                formats=("compressed-tensors",),
                layers=(Layer.EXPERT,),
            ),
            Known(_ERROR, _KEPT, architectures=KEPT_ROUTERS, layers=(Layer.ROUTER,), where=_LOADING),
        ),
        "CK606/renamed": (
            Known(_WARNING, "codes are taken for values; the scale is listed as unexpected"),
            Known(_ERROR, _KEPT, layers=_TEXT, where=_LOADING),
        ),
        "CK606/another-quantization": (
            Known(_WARNING, "codes are taken for values; the scale is listed as unexpected"),
            Known(_ERROR, "the weights of experts cannot be converted", formats=_CT, layers=(Layer.EXPERT,)),
        ),
        **dict.fromkeys(
            ("CK606/another-quantization/second-scale", "CK606/another-quantization/by-row/second-scale"),
            (
                Known(_WARNING, "codes are taken for values; the scale is listed as unexpected"),
                Known(_WARNING, "codes are taken for values; the scale is listed as unexpected", _TOLD, formats=_CT),
                Known(_ERROR, _IN_FLOAT32, _GUESSES, formats=_CT, where=_DEQUANTIZE),
                Known(_ERROR, "the weights of experts cannot be converted", formats=_CT, layers=(Layer.EXPERT,)),
            ),
        ),
        **dict.fromkeys(
            ("CK606/another-quantization/integers", "CK606/another-quantization/by-row/integers"),
            (Known(_ERROR, "Expected torch.int32 but got torch.int8; at the first request", formats=_CT),),
        ),
        "CK607": (Known(_SILENT, "the module that was meant is quantized"),),
        "CK608/built": (
            Known(_SILENT, "builds the module quantized"),
            Known(Outcome.OK, "neither routers nor experts are linear layers to it", layers=_NOT_LINEAR),
        ),
        "CK608/left-alone": (
            Known(_WARNING, "leaves the module alone: codes are taken for values"),
            Known(_ERROR, _KEPT, layers=_TEXT, architectures=("NemotronH",), where=_LOADING),
        ),
        "CK608/left-alone/renamed": (
            Known(_WARNING, "leaves the module alone: codes are taken for values"),
            Known(_ERROR, _KEPT, layers=_TEXT, where=_LOADING),
        ),
        "CK609": (Known(_SILENT, "reads modules_to_not_convert first"),),
        "CK617": (Known(_SILENT, "prefers exact names and sorts patterns"),),
        "CK617/twice": (),
        "CK618": (),
        "CK618/status": (
            Known(_SILENT, "codes are taken for values, or zero points are made up"),
            Known(_ERROR, "dtypes do not fit", architectures=("Qwen2_5_VLFor",)),
        ),
        "CK618/type-missing-experts": (Known(_ERROR, "the weights cannot be converted"),),
        **dict.fromkeys(
            (f"CK618/type-missing{where}" for where in ("", "-blocks", "-static", "-cache")),
            (Known(_SILENT, "codes are taken for integers"),),
        ),
        "CK619": (Known(_ERROR, "unknown keys are refused"),),
        "CK619/ignored": (),
        "CK619/recent": (Known(_ERROR, "unknown keys are refused", Range(until="0.13", of="compressed-tensors")),),
        "CK613": (
            Known(_SILENT, "codes are taken for values"),
            Known(_ERROR, "dtypes do not fit; at the first request", architectures=KEPT_ROUTERS),
            Known(Outcome.OK, "the gate of a shared expert is a linear layer", layers=(Layer.GATE,)),
        ),
        "CK620": (),
        "CK620/key": (Known(_WARNING, "compression_config is not found: codes are taken for values"),),
        "CK621": (
            Known(_WARNING, "the missing scales are listed and made up"),
            Known(
                Outcome.OK,
                "scales of their inputs are left out",
                formats=_CT,
                layers=(Layer.EXPERT,),
                architectures=MERGED_EXPERTS,
                where="integrations/compressed_tensors.py (DecompressExperts)",
            ),
        ),
        "CK622": (),
        "CK623": (Known(_WARNING, "the method is skipped and codes are taken for values"),),
        "CK623/algorithm-spelling": (),
        "CK623/missing": (Known(_ERROR, "the config has no quant_method attribute"),),
        "CK625": (),
        "CK627": (Known(_ERROR, "a default without output_tensors, and quantized outputs, fail"),),
        "CK627/missing-list": (Known(_ERROR, "KeyError: 'exclude'"),),
        "CK627/other-null-key": (),
        "CK627/kv-no-layers": (Known(_WARNING, "no output is quantized; scales are listed as unexpected"),),
        "CK627/null-key": (Known(_WARNING, "nothing is excluded; missing scales are listed and made up"),),
        **dict.fromkeys(("CK627/kv-group", "CK627/plain-layer"), ()),
        "CK627/spec-list": (Known(_WARNING, "scales are looked for by another name, and made up"),),
        "CK629/compressed-tensors-status": (Known(_SILENT, "codes are taken for values"),),
        "CK629/compressed-tensors": (Known(_ERROR, "refuses the config"),),
        "CK629/compressed-tensors-kv-cache": (Known(_ERROR, "refuses the config"),),
        "CK629/compressed-tensors-status-null": (Known(_ERROR, "refuses the config"),),
        "CK629/quark-export": (),
        "CK629/quark": (Known(_ERROR, "refuses the config"),),
        "CK631": (
            Known(_ERROR, "the load never ends", formats=("compressed-tensors",)),
            Known(_ERROR, "the load never ends", formats=("fp8", "fp8-block", "fp8-transformers")),
        ),
        "CK632": (Known(_ERROR, "the config is refused; layers of default sizes cannot be filled"),),
        "CK633/architectures": (),
        "CK633": (Known(_ERROR, "unrecognized model"),),
        "CK634": (Known(_SILENT, "codes are taken for values", leaves_out=(Layer.EMBEDDING,)),),
        "CK635": (Known(_ERROR, "weights cannot be quantized in what holds linear layers", _CONTAINERS),),
        "CK635/embedding": (Known(_ERROR, "an embedding with a scheme of linear layers; at the first request"),),
        "CK635/attention": (Known(_ERROR, "weights cannot be quantized in attention itself"),),
        "CK636": (Known(_ERROR, "the config is refused", Range(since="5.17", until="5.18")),),
        **dict.fromkeys(("CK701", "CK702", "CK801"), ()),
        **dict.fromkeys(
            ("CK701/experts", "CK701/experts-but-the-first"),
            (Known(_SILENT, "experts are put together by value, codes and numbers alike"),),
        ),
        **dict.fromkeys(
            tuple(f"CK701/experts{kind}/whole-projections" for kind in ("", "/first-mixed", "/cast")),
            (
                Known(_SILENT, "experts are put together by value, codes and numbers alike"),
                Known(Outcome.OK, "each projection of all experts is multiplied with its scales, if any", formats=_CT),
            ),
        ),
        "CK805/other-inputs": (
            Known(_ERROR, "inputs are no whole number of groups; at the first request"),
            Known(Outcome.OK, "weights alone are in blocks", formats=_CT),
        ),
        "CK805": (
            Known(_ERROR, "inputs are no whole number of groups; at the first request"),
            Known(_ERROR, "no kernel; at the first request, on GPUs", formats=("fp8-block",), at_request=True),
        ),
        "CK901": (Known(_WARNING, "the missing scales are listed and made up"),),
        "CK903": (Known(_WARNING, "the missing scales are listed and made up", formats=("compressed-tensors",)),),
        "CK903/query": (Known(Outcome.OK, "the scale is listed as unexpected"),),
        "CK903/not-own": (Known(_WARNING, "Quark knows its own names only; missing scales are made up"),),
        "CK904": (Known(_WARNING, "the missing scale is listed and made up"),),
        "CK905": (
            Known(_WARNING, "the missing scales are listed and made up", formats=("compressed-tensors", "quark")),
        ),
        "CK906": (Known(_SILENT, "used as it is"),),
        "CK907": (Known(_ERROR, "shapes do not fit; at the first request"),),
        "CK907/heads": (
            Known(Outcome.OK, "broadcast", formats=("compressed-tensors",)),
            Known(_SILENT, "broadcast along another axis", formats=("quark",)),
        ),
        "CK907/other-number": (Known(_SILENT, "broadcast"),),
        "CK907/single": (),
        "CK910/query": (Known(_WARNING, "the missing scale is listed and made up", formats=("quark",)),),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
        "CK912": (),
        "CK912/elements": (Known(_SILENT, "the cache is rounded as declared, by scales that were made for FP8"),),
    }
)


OUTCOMES: Outcomes = MappingProxyType(
    {key: (*rows_of(_OF_ALL, key), *OF_PLAIN_FP8.get(key, ())) for key in dict.fromkeys((*_OF_ALL, *OF_PLAIN_FP8))}
)
