"""What each defect does in TensorRT-LLM, by the code of the rule that finds it, and where that was read or reported.

Places are those of ``sources.py``. Of several groups of compressed-tensors the first counts for every module: that
pull request 17725 tells them apart was not merged by September 2026.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import ALWAYS, Evidence, Range
from ckptkit.engines.trtllm.sources import (
    ARITHMETIC,
    CONFIGS,
    EMBEDDING,
    EXPERTS,
    FIRST_READER,
    GROUPS,
    IGNORED_LAYERS,
    LINEARS,
    MIXTRAL,
    MODEL_CONFIG,
    NAMED_GROUPS,
    QWEN3_MOE,
    SAFETENSORS,
)

_ERROR, _SILENT, _WARNING, _SLOW = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING, Outcome.SLOW
_SOURCE = Evidence.SOURCE
_UNKNOWN_NAME = "no parameter has this name"
_PLAIN = "layers are built unquantized, and codes are taken for values"
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.HEAD)
_CAST = "weights are cast by value, and scales stay as they were allocated"
_PLACES = ("compressed-tensors", "fp8", "quark-fp8", "fp8-block", "modelopt")
_HF_CONFIG = MODEL_CONFIG.at("load_hf_quant_config")
_PRETRAINED = MODEL_CONFIG.at("from_pretrained")
_COPIES = LINEARS.at("copy_weight")
_TENSOR = LINEARS.at("FP8QDQLinearMethod")
_FUSED = LINEARS.at("FP8QDQLinearMethod.rescale_fused_weights")
_ROWS = f"{LINEARS.at('FP8RowwiseLinearMethod')}, {NAMED_GROUPS}"
_BLOCKS = LINEARS.at("FP8BlockScalesLinearMethod")
_EXPERTS = EXPERTS.at("_get_quant_method")
_LOADERS = LINEARS.at("load_weights_vanilla_helper, load_weights_fused_qkv_helper")
_PLAIN_ROUTERS = Known(
    Outcome.OK,
    "routers are built plain",
    layers=(Layer.ROUTER, Layer.GATE),
    architectures=("Qwen3MoeFor", "MixtralFor"),
    how=_SOURCE,
    where=f"{QWEN3_MOE}, {MIXTRAL}",
)
_BUILT_PLAIN = Known(Outcome.OK, "layers are built plain", how=_SOURCE, where=f"{_HF_CONFIG}, {_COPIES}")

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS, where=SAFETENSORS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS, where=SAFETENSORS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS, where=SAFETENSORS),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS, where=CONFIGS),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS, where=ARITHMETIC),),
        "CK208": (Known(_ERROR, _UNKNOWN_NAME, where=_LOADERS),),
        "CK301": (Known(_ERROR, "wants [N] for [N, 1]", Range(until="2026-08"), where=_ROWS),),
        "CK305": (
            Known(_ERROR, "wants a plain grid", layers=(Layer.EXPERT, Layer.STACK), where=_EXPERTS),
            Known(
                Outcome.OK,
                "linear layers make two dimensions of four, and take one value for all blocks",
                how=_SOURCE,
                where=_BLOCKS,
            ),
        ),
        "CK309": (Known(_ERROR, "wants one scale for each part", where=_FUSED),),
        "CK312/cut": (),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS, where=ARITHMETIC),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS, where=ARITHMETIC),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS, where=ARITHMETIC),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS, where=ARITHMETIC),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS, where=ARITHMETIC),),
        "CK510": (Known(_SILENT, "codes are taken for values", ALWAYS, where=ARITHMETIC),),
        "CK506": (Known(Outcome.UNKNOWN, "taken as it is stored: 1.0 may be what was meant", where=_TENSOR),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS, where=ARITHMETIC),),
        "CK601": (Known(_SILENT, _PLAIN, how=_SOURCE, where=f"{_PRETRAINED}, {_COPIES}"),),
        "CK601/kv-scales": (Known(_SILENT, "scales are left out", how=_SOURCE, where=_PRETRAINED),),
        "CK601/scales": (),
        "CK602": (
            Known(
                _SILENT,
                _CAST,
                formats=_PLACES,
                how=_SOURCE,
                where=_COPIES,
            ),
            Known(
                _ERROR,
                "TypeError: 'NoneType' object is not iterable, for weight_block_size: null",
                formats=("fp8-transformers",),
                how=_SOURCE,
                where=_HF_CONFIG,
            ),
        ),
        "CK602/dynamic-inputs": (_BUILT_PLAIN,),
        "CK602/beside-scales-dynamic-inputs": (_BUILT_PLAIN,),
        "CK603": (Known(_SILENT, "hf_quant_config.json counts", where=_PRETRAINED),),
        "CK604/fp8-alone": (),
        "CK604": (Known(_SILENT, "serves the unquantized model", where=_HF_CONFIG),),
        "CK605": (
            Known(_SILENT, _CAST, how=_SOURCE, where=_COPIES),
            _PLAIN_ROUTERS,
        ),
        "CK606": (Known(_SILENT, "codes are taken for values", how=_SOURCE, where=_COPIES),),
        "CK608/built": (
            Known(_SILENT, f"builds the module quantized: {_CAST}", how=_SOURCE, where=_COPIES),
            _PLAIN_ROUTERS,
        ),
        "CK608/left-alone": (
            Known(_SILENT, "leaves the module alone, and takes codes for values", how=_SOURCE, where=_COPIES),
        ),
        "CK609": (
            Known(
                _SILENT,
                "reads modules_to_not_convert only",
                how=_SOURCE,
                where=f"{_HF_CONFIG}; {IGNORED_LAYERS}",
            ),
        ),
        "CK611": (Known(_SILENT, "the head is forced to BF16", where=str(EMBEDDING)),),
        "CK616": (Known(_ERROR, "looks for group_0", Range(until="2026-08"), where=NAMED_GROUPS),),
        "CK616/several": (Known(_SILENT, "applies group_0 to every module", how=_SOURCE, where=NAMED_GROUPS),),
        "CK616/several/none-first": (
            Known(_ERROR, "KeyError: 'group_0'", Range(until="2026-08"), where=NAMED_GROUPS),
            Known(
                _ERROR,
                "ValueError: exactly one config group is wanted where none is group_0",
                Range(since="2026-08"),
                how=_SOURCE,
                where=NAMED_GROUPS,
            ),
        ),
        **dict.fromkeys(("CK618/format", "CK618/status", "CK618/type-missing", "CK618/type-missing-cache"), ()),
        "CK621": (
            Known(_ERROR, "missing input_scale", where=_EXPERTS),
            Known(Outcome.OK, "inputs are scaled while running", layers=_LINEAR, how=_SOURCE, where=_TENSOR),
        ),
        "CK621/in-part": (
            Known(_ERROR, "missing input_scale", where=_EXPERTS),
            Known(
                _SILENT,
                "the largest of its parts' scales counts, and one was never set",
                layers=_LINEAR,
                how=_SOURCE,
                where=_FUSED,
            ),
        ),
        "CK623": (
            Known(_ERROR, "NotImplementedError: Unsupported quantization_config", how=_SOURCE, where=FIRST_READER),
        ),
        "CK624": (
            Known(Outcome.UNKNOWN, "what fields that contradict do is not known", how=_SOURCE, where=FIRST_READER),
        ),
        "CK624/block-size": (),
        "CK624/experts": (),
        "CK626": (Known(_SILENT, "one method for all", where=str(GROUPS)),),
        "CK704": (Known(_SLOW, "parts are requantized while loading", where=_FUSED),),
        "CK705": (Known(_ERROR, "assertion, or the first counts", where=_FUSED),),
        "CK804": (Known(_ERROR, "group size must be 128", where=str(GROUPS)),),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS, where=_TENSOR),),
        "CK912": (),
        "CK912/elements": (
            Known(
                _ERROR,
                "ValueError: Unsupported kv_cache_scheme",
                formats=("compressed-tensors",),
                how=_SOURCE,
                where=str(GROUPS),
            ),
        ),
    }
)
