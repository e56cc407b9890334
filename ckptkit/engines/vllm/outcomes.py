"""What each defect does in vLLM, by the code of the rule that finds it."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.gpus import SM_10X
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import ALWAYS, LONG_AGO, Evidence, Range
from ckptkit.engines.vllm.classes import (
    KNOWN_PARTS,
    LATENT,
    LEFT_SINCE_0_32,
    LEFT_TO_TRANSFORMERS,
    QUANTIZED_ROUTERS,
    TOWERS_LEFT_ALONE,
)
from ckptkit.engines.vllm.values import VALUES

_ERROR, _SILENT, _WARNING, _SLOW = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING, Outcome.SLOW
_UNTIL_32, _SINCE_32 = Range(until="0.32"), Range(since="0.32")
_UNKNOWN_NAME = "no parameter has this name"
_UNSET = "the scale keeps the value it was allocated with"
_ASSERTION = "assertion without a message"
_SHAPE = "the parameter's loader stops at the shape"
_WITHOUT_HEAD = "it is taken for a model that embeds, and its head is not loaded"
_UNNAMED = "transformers_utils/config.py (MODEL_MAPPING_NAMES), models/registry.py"
_CAST = "BF16 values land in an FP8 parameter"

_CT, _QUARK = ("compressed-tensors",), ("quark",)
#: Formats whose lists are asked for the parts of a fused layer, each by its name.
_BY_PARTS = (*_CT, *_QUARK, "quark-fp8", "fp8", "fp8-block")
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.EXPERT)
#: Where scales of the cache are looked for (``maybe_remap_kv_scale_name``).
_MAPPED_KV = ("below-attention", "on-projection", "on-merged", "not-own")

#: What variants of CK312 are about: layers outside attention, queries, keys, or the size of both.
_HEADS = ("", "queries-", "keys-", "head-size-")

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK104": (Known(_ERROR, "missing file"),),
        "CK105": (Known(_SILENT, "where no shard has it: quantized models are not checked for missing tensors"),),
        **dict.fromkeys(("CK105/elsewhere", "CK105/bias-of-none", "CK105/scale-of-none"), ()),
        "CK106": (),
        "CK107/same": (),
        "CK107": (Known(_SILENT, "the last copy wins"),),
        "CK107/indexed-last": (),
        "CK108": (Known(_SILENT, "what is only in that file is not loaded"),),
        "CK108/adapter": (Known(_ERROR, _UNKNOWN_NAME, how=Evidence.SOURCE),),
        **dict.fromkeys(("CK108/copies", "CK108/prediction"), ()),
        "CK108/mistral": (
            Known(_SILENT, "reads consolidated files instead of the shards, and their scales stay unset"),
        ),
        "CK108/mistral-below": (Known(_ERROR, "cannot find any model weights"),),
        "CK109": (),
        "CK113": (Known(_SILENT, "a head that is missing keeps what it was allocated with"),),
        "CK113/head-stored": (
            Known(_SILENT, "the stored head is dropped", Range(until=LONG_AGO)),
            Known(Outcome.OK, "a stored head is loaded whatever the config says"),
        ),
        "CK113/head-same": (),
        "CK114": (Known(_SILENT, "quantized models are not checked for missing tensors"),),
        "CK114/prediction": (),
        "CK114/tower-unknown": (),
        "CK115": (Known(_ERROR, "file not found", ALWAYS),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK118": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK201": (Known(_SILENT, _UNSET),),
        "CK202": (
            Known(_ERROR, _UNKNOWN_NAME),
            Known(
                _SILENT,
                "scales of routers are skipped",
                formats=("modelopt",),
                layers=(Layer.ROUTER,),
                architectures=QUANTIZED_ROUTERS,
            ),
        ),
        "CK202/beside-declared": (Known(_SILENT, "the scale is loaded beside a weight that was cast by value"),),
        "CK202/weight-lost": (Known(_SILENT, "the weight keeps what it was allocated with"),),
        "CK203": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK204": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK206": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK206/language-model-first": (
            Known(_ERROR, _UNKNOWN_NAME),
            Known(
                Outcome.OK,
                "the names in memory",
                architectures=("Qwen3VLFor", "Qwen3VLMoeFor"),
                how=Evidence.SOURCE,
            ),
        ),
        "CK207/fused": (Known(_SILENT, "FP8 experts are built, and filled by value"),),
        "CK207/fused-codes": (
            Known(_SILENT, "FP8 experts are built, and scales are not mapped"),
            Known(Outcome.OK, "stacks and their scales are mapped", formats=("compressed-tensors",)),
        ),
        "CK207/fused-misplaced": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK207/misplaced": (Known(_ERROR, "not mapped"),),
        "CK207/stacked": (),
        "CK207/unmapped": (Known(_SILENT, "not mapped"),),
        "CK208": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK208/kv-both": (Known(_SILENT, "it is taken for the scale of keys alone"),),
        "CK208/stack-scale": (
            Known(_ERROR, "sizes do not match"),
            Known(Outcome.OK, "stacks and their scales are mapped", formats=("compressed-tensors",)),
        ),
        "CK209": (Known(_SILENT, "what was allocated stays: nothing checks for missing tensors"),),
        "CK210": (Known(_SILENT, "the bias keeps what it was allocated with"),),
        "CK301": (Known(_ERROR, _ASSERTION),),
        "CK302": (
            Known(_ERROR, _ASSERTION),
            Known(Outcome.OK, "one value for one expert, of whatever rank", layers=(Layer.EXPERT,)),
        ),
        "CK303": (Known(_ERROR, _SHAPE),),
        "CK303/more-rows": (
            Known(_ERROR, _SHAPE),
            Known(Outcome.OK, "the first rows are taken", layers=(Layer.FUSED,)),
        ),
        "CK303/fewer-rows": (
            Known(_ERROR, _SHAPE),
            Known(_SILENT, "the rest stays unset", layers=(Layer.EXPERT,)),
        ),
        "CK304": (Known(_ERROR, _SHAPE),),
        "CK305": (Known(_ERROR, "index error or assertion"),),
        "CK306": (Known(_ERROR, _SHAPE),),
        "CK307": (Known(_ERROR, _SHAPE),),
        "CK308": (Known(_SILENT, "integers are converted by value where the shape fits"),),
        "CK309": (Known(_SILENT, "the slots of the other parts stay unset", Range(until="0.31")),),
        "CK310": (Known(_ERROR, "no kernel; at the first request, on GPUs", at_request=True),),
        "CK311": (Known(_ERROR, _ASSERTION),),
        "CK312": (
            Known(_ERROR, _SHAPE),
            Known(_SILENT, "smaller experts fill a part of what is allocated", layers=(Layer.EXPERT,)),
        ),
        **dict.fromkeys(
            (f"CK312/{heads}cut{part}" for heads in _HEADS for part in ("", "-in-part")),
            (Known(_SILENT, "only the first rows or columns are taken"),),
        ),
        **dict.fromkeys(("CK312/router", "CK312/router-in-part", "CK312/router-bias"), (Known(_ERROR, _SHAPE),)),
        "CK312/dense-layer": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK313": (Known(_ERROR, _ASSERTION),),
        "CK314": (Known(_ERROR, _ASSERTION),),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK402": (Known(Outcome.OK, "converted by value, which is right"),),
        "CK403": (Known(_SILENT, "bytes are used as numbers"),),
        "CK404": (Known(_SILENT, "weights are requantized, or the mantissa is dropped", gpus=(*SM_10X, "sm_120")),),
        "CK405": (Known(_WARNING, "cast by value; no word on fused layers"),),
        "CK406": (Known(_WARNING, "cast by value; no word on fused layers"),),
        "CK407": (Known(_SILENT, "cast by value"),),
        "CK408/strange": (Known(_ERROR, "AttributeError: module 'torch' has no attribute"),),
        "CK409": (Known(_SILENT, "converted by value"),),
        "CK410": (Known(_SILENT, "converted by value"),),
        "CK410/double": (Known(Outcome.OK, "converted by value"),),
        "CK411": (Known(_SILENT, "converted by value"),),
        "CK501": (Known(_SILENT, "NaN for some prompts where a path divides by the scale"),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS),),
        "CK506": (Known(_SILENT, "activations on a grid that was never calibrated"),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        **VALUES,
        "CK600/no-object": (Known(_ERROR, "AttributeError: 'str' object has no attribute 'to_dict'"),),
        "CK601": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK601/no-scales": (Known(Outcome.UNKNOWN, "codes are taken for values, which may be what was meant"),),
        "CK601/no-scales/codes": (Known(_SILENT, "codes are taken for values"),),
        "CK601/no-scales/values": (),
        "CK601/kv-scales": (Known(_SILENT, "scales are ignored"),),
        "CK602": (Known(_SILENT, "weights are cast by value, scales stay unset"),),
        **dict.fromkeys(
            ("CK602/beside-scales/codes", "CK602/beside-scales-dynamic-inputs/codes"),
            (Known(Outcome.OK, "codes in a wider type are cast back"),),
        ),
        "CK603": (),
        "CK604": (Known(_ERROR, "missing quant_algo"),),
        "CK604/beside-another": (),
        "CK605": (
            Known(_SILENT, "cast to FP8 by value, the scale stays unset"),
            Known(Outcome.OK, "gates of shared experts are built plain", layers=(Layer.GATE,)),
        ),
        "CK605/tied-head": (
            Known(_SILENT, "the head is built quantized, and its scales stay unset", formats=("modelopt",)),
        ),
        "CK606": (
            Known(_ERROR, _UNKNOWN_NAME),
            Known(
                _SILENT,
                "codes are taken for values",
                formats=("modelopt",),
                layers=(Layer.ROUTER,),
                architectures=QUANTIZED_ROUTERS,
            ),
        ),
        "CK607": (Known(_SILENT, "the module that was meant is quantized"),),
        "CK608/built": (
            Known(_SILENT, "builds the module quantized"),
            Known(Outcome.OK, "routers are built plain", layers=(Layer.ROUTER, Layer.GATE)),
            Known(_SILENT, "builds the router quantized", layers=(Layer.ROUTER,), architectures=QUANTIZED_ROUTERS),
        ),
        "CK608/no-scheme": (
            Known(_ERROR, "the layer is built plain, and its scales find no place"),
            Known(_ERROR, "experts are built plain, and their scales find no place", _SINCE_32, layers=(Layer.EXPERT,)),
            Known(Outcome.OK, "experts are asked for by other names", _UNTIL_32, layers=(Layer.EXPERT,)),
        ),
        "CK608/left-alone": (Known(_ERROR, "leaves the module alone"),),
        "CK609": (Known(_SILENT, "reads ignored_layers first"),),
        "CK611": (Known(_ERROR, "no scale parameter, unless compressed-tensors targets the head by name"),),
        "CK612": (Known(_ERROR, _UNKNOWN_NAME, architectures=TOWERS_LEFT_ALONE),),
        "CK613": (
            Known(_ERROR, _UNKNOWN_NAME),
            Known(Outcome.OK, "the router is built from the config", architectures=QUANTIZED_ROUTERS),
        ),
        "CK614": (Known(_SILENT, "no drafted token is accepted", at_request=True),),
        "CK615": (Known(_SILENT, "codes are taken for values"),),
        "CK617": (Known(_SILENT, "takes the first pattern in the config's order"),),
        "CK618": (Known(_ERROR, "no scheme without format; INT8 without type; preset names fail"),),
        "CK618/format": (Known(_ERROR, "no scheme is found without format"),),
        "CK618/preset-group": (Known(_ERROR, "preset names fail with a TypeError"),),
        "CK618/null-list": (Known(_ERROR, "TypeError: 'NoneType' object is not iterable"),),
        "CK618/status": (),
        **dict.fromkeys(
            ("CK618/type-missing", "CK618/type-missing-static"), (Known(_SILENT, "an INT8 scheme is taken"),)
        ),
        **dict.fromkeys(
            ("CK618/type-missing-blocks", "CK618/type-missing-experts"),
            (Known(_ERROR, "no INT8 scheme for blocks or experts"),),
        ),
        "CK619": (Known(_ERROR, "unknown keys are refused"),),
        "CK619/ignored": (),
        "CK619/recent": (Known(_ERROR, "unknown keys are refused", Range(until="0.13", of="compressed-tensors")),),
        "CK620": (Known(_ERROR, "sparsity targets are refused"),),
        "CK620/sparse-nowhere": (Known(Outcome.OK, "a sparsity without targets is not looked at"),),
        "CK620/key": (),
        "CK621": (Known(_SILENT, _UNSET),),
        "CK621/in-part": (
            Known(_SILENT, _UNSET),
            Known(Outcome.OK, "one number serves gate and up of an expert", layers=(Layer.EXPERT,)),
        ),
        "CK622": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK623": (Known(_ERROR, "unknown method"),),
        **dict.fromkeys(("CK623/spelling", "CK623/case", "CK623/algorithm-spelling"), ()),
        **dict.fromkeys(
            ("CK623/algorithm", "CK623/nested-algorithm"), (Known(_ERROR, "refused when the config is read"),)
        ),
        "CK623/nested-producer": (Known(_ERROR, "weights are built plain, and scales find no place"),),
        "CK624": (Known(_ERROR, "refused when the config is read"),),
        "CK624/block-size": (),
        "CK624/experts": (Known(_ERROR, "experts of the other layout are built", how=Evidence.SOURCE),),
        "CK625": (Known(Outcome.OK, "the section text_config is read where the top says nothing", how=Evidence.RUN),),
        "CK626": (
            Known(_ERROR, _UNKNOWN_NAME),
            Known(_SILENT, "scales of the other method are skipped", layers=(Layer.EXPERT,)),
        ),
        **dict.fromkeys(("CK627/empty-list", "CK627/spec-list", "CK627/kv-group/in-part"), ()),
        "CK627/plain-layer": (
            Known(Outcome.OK, "the layer is built plain"),
            Known(_ERROR, "no scheme is found for a layer without weights", layers=_LINEAR),
        ),
        "CK627": (Known(_ERROR, "null keys and missing entries fail"),),
        "CK628": (Known(_SLOW, "no fusion of shared experts on ROCm"),),
        "CK629": (Known(_ERROR, "refuses the config"),),
        "CK629/quark": (),
        "CK629/quark-fp8-missing-list": (),
        "CK629/quark-export": (),
        "CK629/compressed-tensors-status": (),
        "CK629/compressed-tensors-status-null": (),
        "CK631": (Known(Outcome.OK, "its matcher comes to an end", formats=("quark",)),),
        "CK632": (Known(_ERROR, "the config is refused; layers of default sizes stay unset"),),
        "CK632/layer-types": (Known(_ERROR, "the config is refused"),),
        "CK632/missing": (Known(_SILENT, "layers of the default number are built and stay unset"),),
        "CK633": (Known(_ERROR, "unrecognized model"),),
        "CK633/architectures": (
            Known(_ERROR, "no model architectures are specified", Range(until=LONG_AGO)),
            Known(_SILENT, _WITHOUT_HEAD, architectures=LEFT_TO_TRANSFORMERS, where=_UNNAMED),
            Known(_SILENT, _WITHOUT_HEAD, _SINCE_32, architectures=LEFT_SINCE_0_32, where=_UNNAMED),
        ),
        "CK634": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK635/embedding": (Known(_ERROR, "compressed-tensors embeddings only support weight-only INT"),),
        "CK636": (Known(_ERROR, "the config is refused", Range(since="5.17", until="5.18", of="transformers")),),
        "CK701": (Known(_ERROR, "different schemes for the parts"),),
        "CK701/cast": (Known(_SILENT, "the fused layer is built quantized, and some parts are cast by value"),),
        "CK701/experts": (Known(_ERROR, "scales of some experts find no place"),),
        "CK701/experts-but-the-first": (
            Known(_SILENT, "the first expert's scheme is that of all, and other scales stay unset"),
            Known(_ERROR, "scales of some experts find no place", formats=("fp8", "fp8-block", "modelopt", "quark")),
        ),
        **dict.fromkeys(
            ("CK701/experts/cast", "CK701/experts-but-the-first/cast"),
            (Known(_SILENT, "all experts are built quantized, and what has no scale is cast by value"),),
        ),
        "CK702": (Known(_ERROR, "the parts' scales do not fit one parameter"),),
        "CK702/experts": (Known(_SILENT, "the first expert's scheme is that of all, and other scales stay unset"),),
        "CK703": (
            Known(_SILENT, _CAST),
            Known(Outcome.UNKNOWN, "whether the class names the parts", formats=_BY_PARTS, architectures=LATENT),
            Known(_ERROR, "different schemes for the parts", formats=_BY_PARTS, architectures=KNOWN_PARTS),
        ),
        "CK703/cast": (Known(_SILENT, _CAST),),
        "CK704": (Known(_SLOW, "parts are requantized while loading"),),
        "CK705": (),
        "CK801": (Known(_ERROR, "output size not divisible by block_n"),),
        **dict.fromkeys(("CK801/unsaid-blocks", "CK801/gates"), ()),
        # Sizes of merged layers are not looked at where the config has ``weight_block_size`` (``layers/linear.py``).
        "CK801/other-attention": (Known(_ERROR, "output size not divisible by block_n", formats=_CT),),
        "CK803": (Known(_SLOW, "no CUTLASS block kernel"),),
        "CK804": (Known(_SLOW, "reference kernels, where there are any"),),
        "CK901": (
            Known(Outcome.UNKNOWN, "1.0 is used, and what was meant is not known", formats=_CT),
            Known(Outcome.UNKNOWN, "1.0 is used, which the exporter may mean by no scales", formats=("modelopt",)),
            Known(_WARNING, "1.0 is used, with one line in the log", option="--kv-cache-dtype fp8"),
        ),
        "CK902": (),
        "CK903": (Known(_ERROR, "attribute error on the fused projection"),),
        "CK903/query": (
            Known(_ERROR, "attribute error on the fused projection"),
            Known(Outcome.UNKNOWN, "queries have other projections", architectures=LATENT),
        ),
        **dict.fromkeys((f"CK903/{place}" for place in _MAPPED_KV), ()),
        "CK904/k": (
            Known(_SILENT, "v stays at 1.0", formats=("compressed-tensors",)),
            Known(_SILENT, "k is copied to v", formats=("modelopt",)),
            Known(_SILENT, "k is copied to v", option="--kv-cache-dtype fp8"),
        ),
        "CK904/v": (
            Known(_SILENT, "k stays at 1.0", formats=("compressed-tensors",)),
            Known(_ERROR, "assertion once the cache is FP8", formats=("modelopt",)),
            Known(_ERROR, "assertion once the cache is FP8", option="--kv-cache-dtype fp8"),
        ),
        "CK905": (
            Known(_SILENT, "1.0 is used without a word", formats=("compressed-tensors",)),
            Known(_WARNING, "1.0 is used, with one line in the log", formats=("modelopt",)),
            Known(_WARNING, "1.0 is used, with one line in the log", option="--kv-cache-dtype fp8"),
        ),
        "CK906": (
            Known(_SILENT, "used as it is", formats=("compressed-tensors",)),
            Known(_SILENT, "k is copied to v", formats=("modelopt",)),
            Known(_SILENT, "k is copied to v", option="--kv-cache-dtype fp8"),
        ),
        "CK906/key": (
            Known(_SILENT, "used as it is", formats=("compressed-tensors",)),
            Known(_ERROR, "assertion once the cache is FP8", formats=("modelopt",)),
            Known(_ERROR, "assertion once the cache is FP8", option="--kv-cache-dtype fp8"),
        ),
        "CK906/invalid": (
            Known(_SILENT, "used as it is", formats=("compressed-tensors", "modelopt")),
            Known(_SILENT, "used as it is", option="--kv-cache-dtype fp8"),
        ),
        "CK907": (Known(_ERROR, "expects a scalar"),),
        "CK907/other-number": (Known(_SILENT, "one value is taken for all heads"),),
        "CK907/other-rank": (),
        "CK907/single": (),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
        "CK909": (Known(_SILENT, "written with one scale and read with the other", architectures=LATENT),),
        "CK910": (Known(_WARNING, "1.0 is used"),),
        "CK910/query": (),
        "CK912": (
            Known(_ERROR, "refused"),
            Known(
                Outcome.OK,
                "the cache stays as the engine was told",
                formats=("fp8", "fp8-block", "quark-fp8", "modelopt"),
            ),
        ),
        "CK912/no-text": (Known(_ERROR, "kv_cache_quant_algo must be a string"),),
        "CK912/dynamic": (),
    }
)
