"""What each defect does in SGLang, by the code of the rule that finds it."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import ALWAYS, Range
from ckptkit.engines.sglang.caches import CACHE
from ckptkit.engines.sglang.classes import (
    DEEPSEEKS,
    EXPERTS_ONE_BY_ONE,
    KNOWS_BARE,
    KNOWS_QKV,
    LLAMAS,
    MERGED_TOWERS,
    OTHER_ATTENTION,
    PIXTRALS,
    PLAIN_TOWERS,
    QUANTIZED_TOWERS,
    SHARED_AT_ONCE,
    SKIP_WITH_A_WARNING,
    STAND_IN,
    STOP_AT_EXPERTS,
    STOP_AT_UNKNOWN,
    STOP_BELOW_EXPERTS,
    STOP_SOMEWHERE,
    STRICT,
)
from ckptkit.engines.sglang.shapes import SHAPES
from ckptkit.engines.sglang.ties import TIES
from ckptkit.engines.sglang.values import VALUES

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_PLAIN_TOWER = "the tower is built plain whatever the config says"
_UNKNOWN_NAME = "no parameter has this name"
_UNSET = "the scale keeps the value it was allocated with"
_ASSERTION = "assertion without a message"
_DOWN = "downcasting is refused"
_DROPPED = "weights of unknown names are dropped"
_SKIP_EXPERTS = tuple(name for name in EXPERTS_ONE_BY_ONE if name not in STOP_AT_EXPERTS)
_SHAPE = "the parameter's loader stops at the shape"
_SKIPPED = "the tensor is skipped, and the scale keeps the value it was allocated with"
#: Formats whose readers ask for a fused layer by its own name, unless the class declares its parts.
_ASKS_WHOLE = ("compressed-tensors", "quark")
_CT, _QUARK = ("compressed-tensors",), ("quark",)
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.EXPERT)
_LEFT_OUT = "the tensors are skipped, and the experts keep what they were allocated with"

#: The loader of the class that serves classes of transformers stops at names; it fuses nothing.
_NO_NAME = Known(_ERROR, _UNKNOWN_NAME, architectures=(STAND_IN, *STOP_AT_UNKNOWN))
#: Classes that stop at a name in a part of a model that they have none of: every such part has what they fuse.
_STOP_AT_PARTS = (*STOP_AT_UNKNOWN, *DEEPSEEKS)
#: The others skip what they do not know, some with a warning, but where they merge projections or look for experts.
_NO_NAMES = (
    _NO_NAME,
    Known(_ERROR, _UNKNOWN_NAME, architectures=(*STRICT, *DEEPSEEKS), layers=(Layer.FUSED,)),
    Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_BELOW_EXPERTS, layers=(Layer.EXPERT,)),
)
_ONE_SCHEME = Known(
    _ERROR,
    "all projections of experts need one scheme",
    formats=("compressed-tensors",),
    layers=(Layer.EXPERT,),
    regardless=True,
)
_NO_PARTS = Known(Outcome.OK, "no layers are fused", architectures=(STAND_IN,))

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK104": (
            Known(_SILENT, "weights stay uninitialised", Range(until="2026-08")),
            Known(_ERROR, "shard files that the index names are missing", Range(since="2026-08")),
        ),
        "CK105": (Known(_SILENT, "the parameter keeps its first value"),),
        **dict.fromkeys(("CK105/elsewhere", "CK105/bias-of-none", "CK105/scale-of-none"), ()),
        "CK107": (Known(_SILENT, "the last copy wins"),),
        **dict.fromkeys(("CK106", "CK107/same", "CK107/indexed-last", "CK109"), ()),
        "CK114": (Known(_SILENT, "nothing looks for missing tensors"),),
        **TIES,
        **dict.fromkeys(("CK114/prediction", "CK114/tower-unknown"), ()),
        "CK115": (Known(_ERROR, "shard files that the index names are missing"),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK118": (Known(_SILENT, "layers beyond the last are skipped"), _NO_NAME),
        "CK118/stray": _NO_NAMES,
        "CK201": (Known(_SILENT, _UNSET),),
        "CK202": _NO_NAMES,
        "CK202/beside-declared": (Known(_SILENT, "the scale is loaded beside a weight that was cast by value"),),
        "CK202/weight-lost": (Known(_SILENT, "the weight keeps what it was allocated with"),),
        "CK203": (
            Known(_SILENT, _SKIPPED),
            *_NO_NAMES,
            Known(
                Outcome.OK, "brought to one spelling", formats=("compressed-tensors", "modelopt"), architectures=LLAMAS
            ),
        ),
        "CK204": (Known(_WARNING, _SKIPPED), *_NO_NAMES),
        "CK204/bare/raw": (
            Known(_WARNING, _SKIPPED),
            _NO_NAME,
            Known(_ERROR, _UNKNOWN_NAME, architectures=STRICT, layers=(Layer.FUSED,)),
        ),
        "CK204/inverse": (
            Known(_WARNING, _SKIPPED),
            Known(_ERROR, _UNKNOWN_NAME, formats=_QUARK, architectures=(STAND_IN,)),
            Known(
                Outcome.OK,
                "brought to one spelling",
                formats=("fp8", "quark-fp8", "modelopt"),
                architectures=(STAND_IN,),
            ),
            Known(Outcome.OK, "brought to one spelling", architectures=LLAMAS),
        ),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK206": (Known(_SILENT, _DROPPED), Known(_ERROR, _UNKNOWN_NAME, architectures=_STOP_AT_PARTS)),
        "CK206/bare": (
            Known(_SILENT, _DROPPED),
            Known(Outcome.OK, "the prefix is put back", architectures=KNOWS_BARE),
            Known(_ERROR, _UNKNOWN_NAME, architectures=_STOP_AT_PARTS),
        ),
        **dict.fromkeys(
            ("CK206/bare/raw", "CK206/part/raw"),
            (Known(_SILENT, _DROPPED), Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_AT_UNKNOWN)),
        ),
        "CK206/part": (
            Known(_SILENT, _DROPPED),
            Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_AT_UNKNOWN),
            Known(_ERROR, _UNKNOWN_NAME, architectures=DEEPSEEKS, layers=(Layer.FUSED,)),
        ),
        "CK206/no-language-model": (
            Known(_SILENT, _DROPPED),
            Known(Outcome.OK, "names without the part are known", architectures=("Qwen3VLFor", "Qwen3VLMoeFor")),
        ),
        "CK207": (Known(_SILENT, _LEFT_OUT, architectures=EXPERTS_ONE_BY_ONE, leaves_out=(Layer.EXPERT,)),),
        "CK207/misplaced": (
            Known(_SILENT, _LEFT_OUT, architectures=_SKIP_EXPERTS, leaves_out=(Layer.EXPERT,)),
            Known(_ERROR, _UNKNOWN_NAME, architectures=STOP_AT_EXPERTS),
        ),
        "CK207/fused": (
            Known(_SILENT, _LEFT_OUT, architectures=EXPERTS_ONE_BY_ONE),
            Known(_SILENT, "FP8 experts are built, and filled by value", architectures=("GraniteMoe",)),
        ),
        "CK207/fused-codes": (
            Known(_SILENT, _LEFT_OUT, architectures=EXPERTS_ONE_BY_ONE),
            Known(_SILENT, "codes are loaded, and their scales stay unset", architectures=("Llama4For",)),
        ),
        "CK207/stacked": (Known(_SILENT, _LEFT_OUT, architectures=EXPERTS_ONE_BY_ONE),),
        "CK208": _NO_NAMES,
        "CK208/base-layer": (Known(_SILENT, _DROPPED), *_NO_NAMES),
        "CK208/stack-scale": (
            *_NO_NAMES,
            Known(_SILENT, _SKIPPED, architectures=("Llama4For",), layers=(Layer.LINEAR, Layer.FUSED)),
        ),
        "CK208/only-scale": (Known(_SILENT, _SKIPPED), *_NO_NAMES),
        "CK209": (Known(_SILENT, "what was allocated stays: nothing checks for missing tensors"),),
        "CK210": (Known(_SILENT, "the bias keeps what it was allocated with"),),
        **SHAPES,
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK402": (Known(Outcome.OK, "converted by value, which is right"),),
        "CK403": (Known(_SILENT, "bytes are used as numbers"),),
        "CK404": (Known(_SILENT, "the mantissa is dropped on Blackwell"),),
        "CK405": (Known(_SILENT, "cast by value"),),
        "CK406": (Known(_SILENT, "cast by value"),),
        "CK407": (Known(_SILENT, "cast by value"),),
        "CK407/packed": (Known(_ERROR, _ASSERTION),),
        "CK408/float8": (Known(_ERROR, "TypeError: couldn't find storage object Float8_e4m3fnStorage"),),
        "CK408/float8/outer-alone": (Known(Outcome.OK, "the language model's own section counts"),),
        "CK408/strange": (Known(_ERROR, "AttributeError: module 'torch' has no attribute"),),
        "CK409": (Known(_SILENT, "converted by value"),),
        "CK410": (Known(_SILENT, "converted by value"),),
        "CK410/double": (Known(Outcome.OK, "converted by value"),),
        "CK410/double/split-alone": (Known(_ERROR, _DOWN),),
        "CK411": (),
        "CK501": (Known(_SILENT, "rows of zeros"),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK506": (Known(Outcome.UNKNOWN, "taken as it is stored: 1.0 may be what was meant"),),
        "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        **VALUES,
        "CK601": (
            Known(_SILENT, "codes are taken for values"),
            Known(_ERROR, _UNKNOWN_NAME, architectures=(*STOP_SOMEWHERE, STAND_IN)),
        ),
        "CK601/no-scales": (Known(Outcome.UNKNOWN, "codes are taken for values, which may be what was meant"),),
        "CK601/no-scales/codes": (Known(_SILENT, "codes are taken for values"),),
        "CK601/no-scales/values": (),
        "CK601/scales": (
            *_NO_NAMES,
            Known(_ERROR, _UNKNOWN_NAME, architectures=(*STRICT, *DEEPSEEKS, *STOP_BELOW_EXPERTS)),
        ),
        "CK601/kv-scales": _NO_NAMES,
        "CK602": (Known(_SILENT, "weights are cast to FP8 by value"),),
        **dict.fromkeys(
            (
                "CK602/split-alone",
                *(
                    f"CK602/{words}/split-alone"
                    for words in (
                        *("dynamic-inputs", "beside-scales", "beside-scales-dynamic-inputs"),
                        *("beside-scales/codes", "beside-scales-dynamic-inputs/codes"),
                    )
                ),
            ),
            (Known(_ERROR, _DOWN),),
        ),
        **dict.fromkeys(
            ("CK602/beside-scales/codes", "CK602/beside-scales-dynamic-inputs/codes"),
            (
                Known(Outcome.OK, "codes in a wider type are cast back"),
                Known(_ERROR, "ValueError: Downcasting not allowed", architectures=DEEPSEEKS),
            ),
        ),
        "CK603": (),
        "CK604": (Known(_ERROR, "no quant_algo is found"),),
        "CK604/beside-another": (),
        # srt/configs/model_config.py (_parse_modelopt_quant_config), layers/quantization/w4afp8.py
        "CK604/fp8-alone": (
            Known(_SILENT, "scales of blocks are wanted, and stay as they were allocated"),
            Known(_ERROR, "experts are taken for packed INT4: sizes do not match", layers=(Layer.EXPERT,)),
            *_NO_NAMES,
        ),
        "CK604/fp8-alone/cut": (Known(_ERROR, "output size not divisible by block_n"),),
        "CK604/side-alone": (Known(_SILENT, "no quantization is found: codes are taken for values"),),
        "CK605": (
            Known(_SILENT, "cast to FP8 by value"),
            Known(_ERROR, _DOWN, layers=(Layer.TOWER,)),
            Known(Outcome.OK, _PLAIN_TOWER, layers=(Layer.TOWER,), architectures=PLAIN_TOWERS),
            Known(_SILENT, "the tower is cast by value", layers=(Layer.TOWER,), architectures=MERGED_TOWERS),
            Known(Outcome.OK, "routers are built plain", layers=(Layer.ROUTER, Layer.GATE)),
        ),
        "CK605/split-alone": (Known(_ERROR, _DOWN),),
        "CK605/tied-head": (),
        "CK606": (
            Known(_SILENT, "codes are taken for values"),
            Known(_ERROR, _UNKNOWN_NAME, architectures=STRICT, layers=(Layer.TOWER,)),
            *_NO_NAMES,
        ),
        **dict.fromkeys(
            ("CK606/another-quantization", "CK606/another-quantization/integers"),
            (Known(_ERROR, "scales do not fit the parameters of the scheme that is declared"),),
        ),
        **dict.fromkeys(
            ("CK606/another-quantization/by-row", "CK606/another-quantization/by-row/integers"),
            (
                Known(_ERROR, "scales do not fit the parameters of the scheme that is declared"),
                Known(_SILENT, "the weight keeps what it was allocated with", formats=_CT, layers=(Layer.LINEAR,)),
            ),
        ),
        "CK606/tied-head": (
            Known(_SILENT, "codes are taken for values"),
            Known(Outcome.OK, "the head is dropped, and its scale", architectures=SKIP_WITH_A_WARNING),
            *_NO_NAMES,
        ),
        "CK607": (),
        "CK608/built": (
            Known(_SILENT, "builds the module quantized"),
            Known(Outcome.OK, "routers are built plain", layers=(Layer.ROUTER, Layer.GATE)),
            Known(_ERROR, _DOWN, formats=("compressed-tensors",), layers=(Layer.TOWER,)),
            Known(Outcome.OK, _PLAIN_TOWER, layers=(Layer.TOWER,), architectures=PLAIN_TOWERS),
            Known(_SILENT, "the tower is cast by value", layers=(Layer.TOWER,), architectures=MERGED_TOWERS),
        ),
        "CK608/built/split-alone": (Known(_ERROR, _DOWN),),
        "CK608/left-alone": (
            Known(_SILENT, "leaves the module alone, and takes codes for values"),
            _ONE_SCHEME,
            *_NO_NAMES,
        ),
        **dict.fromkeys(
            ("CK608/left-alone/projector", "CK608/left-alone/renamed/projector"),
            (
                Known(_SILENT, "leaves the module alone, and takes codes for values"),
                Known(_ERROR, _UNKNOWN_NAME, architectures=(*PIXTRALS, *STOP_AT_UNKNOWN)),
            ),
        ),
        "CK608/in-part": (Known(_ERROR, "all parts of a fused layer need one scheme", regardless=True),),
        "CK608/no-target": (Known(_ERROR, "no target is found for the layer", regardless=True),),
        "CK608/no-scheme": (Known(_ERROR, "no target is found for the fused layer"),),
        "CK606/part-of-expert": (
            Known(_SILENT, "codes are taken for values"),
            _ONE_SCHEME,
        ),
        "CK606/unspecified": (
            Known(_SILENT, "codes are taken for values"),
            Known(_ERROR, "no scheme is found for a layer without weights", formats=_QUARK, layers=_LINEAR),
            Known(_ERROR, _UNKNOWN_NAME, architectures=STRICT, layers=(Layer.TOWER,)),
            *_NO_NAMES,
        ),
        "CK606/untargeted": (
            Known(_SILENT, "codes are taken for values"),
            Known(
                _ERROR,
                "no target is found for the layer",
                layers=(Layer.LINEAR, Layer.FUSED, Layer.EXPERT),
                regardless=True,
            ),
        ),
        "CK608/another-scheme/cut": (Known(_SILENT, "the first rows of scales are taken for those of blocks"),),
        "CK608/another-scheme": (Known(_ERROR, "the parts do not fit the scheme of the fused layer"),),
        "CK610": (Known(_SILENT, "fused names are not recognised", Range(until="2026-06")),),
        "CK611": (Known(_SILENT, "the head's scale is dropped"), *_NO_NAMES),
        "CK612": (
            Known(_SILENT, "the tower runs without scales"),
            Known(Outcome.OK, "the tower is built from the config", architectures=QUANTIZED_TOWERS),
            Known(Outcome.OK, "the class has no tower: it is skipped", architectures=(*LLAMAS, *EXPERTS_ONE_BY_ONE)),
        ),
        "CK613": (Known(_SILENT, "routers are built plain: codes are taken for values"),),
        "CK614": (Known(_SILENT, "no drafted token is accepted", at_request=True),),
        "CK616/blocks-by-name": (Known(_ERROR, "TypeError: 'NoneType' object is not subscriptable"),),
        "CK618/format": (Known(_ERROR, "no scheme is found without format"),),
        "CK618/null-list": (Known(_ERROR, "TypeError: 'NoneType' object is not iterable"),),
        "CK618/preset-group": (Known(_ERROR, "preset names fail with an AttributeError"),),
        "CK619": (Known(_ERROR, "unknown keys are refused"),),
        "CK619/ignored": (),
        "CK619/recent": (Known(_ERROR, "unknown keys are refused", Range(until="0.13", of="compressed-tensors")),),
        "CK618/type-missing": (Known(_SILENT, "an INT8 scheme is taken"),),
        "CK618/type-missing-cache": (),
        **dict.fromkeys(
            (f"CK618/type-missing-{where}" for where in ("blocks", "experts", "static")),
            (Known(_ERROR, "no INT8 scheme for blocks, experts or scales of inputs"),),
        ),
        "CK620/sparse-in-pairs": (Known(_ERROR, "CompressedTensors24 is not supported now"),),
        **dict.fromkeys(
            ("CK620/sparse", "CK620/sparse-nowhere"),
            (Known(Outcome.OK, "a sparsity without kernels is not looked at"),),
        ),
        "CK621": (Known(_SILENT, "the scale keeps the value it was allocated with"),),
        "CK621/in-part": (
            Known(_SILENT, "the scale keeps the value it was allocated with"),
            Known(Outcome.OK, "gate and up of an expert share one scale, the larger", layers=(Layer.EXPERT,)),
        ),
        "CK621/other-name": (
            Known(_SILENT, "the scale keeps the value it was allocated with"),
            Known(Outcome.OK, "brought to one spelling", architectures=LLAMAS),
        ),
        "CK622": _NO_NAMES,
        "CK623": (Known(_ERROR, "unknown method"),),
        "CK623/case": (
            Known(_SILENT, "the method is not recognised: codes are taken for values"),
            Known(Outcome.OK, "the method is found in any case", formats=("compressed-tensors",)),
        ),
        "CK624": (Known(_ERROR, "refused"),),
        "CK624/unsaid-blocks": (
            Known(_SILENT, _SKIPPED),
            Known(_ERROR, "grids are loaded into scales of whole tensors", architectures=(*LLAMAS, *STOP_SOMEWHERE)),
        ),
        **dict.fromkeys(("CK624/block-size", "CK624/experts", "CK627/empty-list"), ()),
        "CK627/plain-layer": (
            Known(Outcome.OK, "the layer is built plain"),
            Known(_ERROR, "no scheme is found for a layer without weights", layers=_LINEAR),
        ),
        "CK627": (Known(_ERROR, "null keys, and quantized outputs or biases, fail"),),
        **dict.fromkeys(("CK627/default-outputs", "CK627/missing-list"), ()),
        "CK626": _NO_NAMES,
        # srt/models/deepseek_v2.py, glm4_moe.py (shared_experts_is_fp8)
        "CK628/down-plain": (
            Known(_ERROR, "AttributeError: 'UnquantizedLinearMethod' object has no ...", architectures=SHARED_AT_ONCE),
        ),
        "CK629/compressed-tensors": (Known(_ERROR, "refuses the config"),),
        "CK631": (Known(_ERROR, "the load never ends"),),
        "CK632": (Known(_ERROR, "division by zero heads"),),
        "CK632/layer-types": (Known(_ERROR, "the config is refused"),),
        "CK632/missing": (Known(_SILENT, "layers of the default number are built and stay unset"),),
        "CK629/compressed-tensors-kv-cache": (Known(Outcome.OK, "a KV scheme that it does not know is dropped"),),
        "CK633": (Known(_ERROR, "unrecognized model"),),
        "CK633/architectures": (Known(_ERROR, "no architecture is named"),),
        "CK636": (Known(_ERROR, "the config is refused", Range(since="5.17", until="5.18", of="transformers")),),
        "CK701": (
            Known(_ERROR, "different schemes for the parts"),
            Known(_SILENT, "the fused layer has one scheme, and some parts are cast by value", formats=_ASKS_WHOLE),
            Known(_ERROR, "different schemes for the parts", formats=_ASKS_WHOLE, architectures=KNOWS_QKV),
            _NO_PARTS,
        ),
        "CK701/cast": (Known(_SILENT, "the fused layer is built quantized, and some parts are cast by value"),),
        "CK701/experts/first-mixed": (
            Known(_SILENT, "the experts' layer has one scheme, and the others are cast by value"),
            Known(_ERROR, "all projections of experts need one scheme", formats=_CT, regardless=True),
        ),
        **dict.fromkeys(
            ("CK701/experts-but-the-first", "CK701/experts"),
            (Known(_SILENT, "the experts' layer has one scheme, and the others are cast by value"),),
        ),
        "CK702": (Known(_ERROR, "the parts' scales do not fit one parameter"), _NO_PARTS),
        "CK702/experts": (Known(_SILENT, "the first expert's scheme is that of all"),),
        "CK703": (
            Known(_SILENT, "BF16 values land in an FP8 parameter", architectures=OTHER_ATTENTION),
            Known(_ERROR, "FP8 is not put together with another type", architectures=DEEPSEEKS),
        ),
        "CK801": (Known(_ERROR, "output size not divisible by block_n"), _NO_PARTS),
        **dict.fromkeys(("CK801/unsaid-blocks", "CK801/other-attention"), ()),
        **CACHE,
    }
)
