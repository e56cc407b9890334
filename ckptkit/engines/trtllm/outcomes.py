"""What each defect does in TensorRT-LLM, by the code of the rule that finds it.

A checkpoint without a config, and one that holds none of the weights that its config speaks of, as its linear layers
read them: ``_torch/model_config.py`` (from_pretrained) at 008e0af8980f, ``_torch/modules/linear.py`` at 00bbf71e7964.
There FP8QDQLinearMethod scales inputs as they come where no ``input_scale`` is stored; of experts it is reported that
they stop.
Keys of compressed-tensors that it does not look at: ``models/quant_config_utils.py`` at 21156a7a57ac.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import ALWAYS, Evidence, Known, Outcome, Outcomes, Range
from ckptkit.engines.layers import Layer

_ERROR, _SILENT, _WARNING, _SLOW = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING, Outcome.SLOW
_UNKNOWN_NAME = "no parameter has this name"
_PLAIN = "layers are built unquantized, and codes are taken for values"
_LINEAR = (Layer.LINEAR, Layer.FUSED, Layer.HEAD)
_BUILT_PLAIN = Known(Outcome.OK, "layers are built plain", how=Evidence.SOURCE)

OUTCOMES: Outcomes = MappingProxyType(
    {
        "CK101": (Known(_ERROR, "header too large", ALWAYS),),
        "CK102": (Known(_ERROR, "incomplete metadata or buffer", ALWAYS),),
        "CK103": (Known(_ERROR, "invalid header", ALWAYS),),
        "CK116": (Known(_ERROR, "unreadable JSON", ALWAYS),),
        "CK205": (Known(_SILENT, "the reciprocal is multiplied with", ALWAYS),),
        "CK208": (Known(_ERROR, _UNKNOWN_NAME),),
        "CK301": (Known(_ERROR, "wants [N] for [N, 1]", Range(until="2026-08")),),
        "CK305": (Known(_ERROR, "wants a plain grid"),),
        "CK309": (Known(_ERROR, "wants one scale for each part"),),
        "CK312/cut": (),
        "CK401": (Known(_SILENT, "the stored scale is imprecise", ALWAYS),),
        "CK502": (Known(_SILENT, "garbage", ALWAYS),),
        "CK503": (Known(_SILENT, "NaN outputs", ALWAYS),),
        "CK504": (Known(_SILENT, "clipped weights", ALWAYS),),
        "CK505": (Known(_SILENT, "garbage", ALWAYS),),
        "CK506": (Known(_SILENT, "activations on a grid that was never calibrated"),),
        "CK509": (Known(_SILENT, "the scale is multiplied once more", ALWAYS),),
        "CK601": (Known(_SILENT, _PLAIN, how=Evidence.SOURCE),),
        "CK601/kv-scales": (Known(_SILENT, "scales are left out", how=Evidence.SOURCE),),
        "CK601/scales": (),
        "CK602": (
            Known(
                _SILENT,
                "weights are cast by value, and scales stay as they were allocated",
                formats=("compressed-tensors", "fp8", "quark-fp8", "fp8-block", "modelopt"),
                how=Evidence.SOURCE,
            ),
            Known(
                _ERROR,
                "TypeError: 'NoneType' object is not iterable, for weight_block_size: null",
                formats=("fp8-transformers",),
                how=Evidence.SOURCE,
            ),
        ),
        "CK602/dynamic-inputs": (_BUILT_PLAIN,),
        "CK602/beside-scales-dynamic-inputs": (_BUILT_PLAIN,),
        "CK603": (Known(_SILENT, "hf_quant_config.json counts"),),
        "CK604": (Known(_SILENT, "serves the unquantized model"),),
        "CK609": (Known(_SILENT, "reads modules_to_not_convert only", Range(until="2026-08")),),
        "CK611": (Known(_SILENT, "the head is forced to BF16"),),
        "CK616": (Known(_ERROR, "looks for group_0", Range(until="2026-08")),),
        "CK616/several": (Known(_SILENT, "applies group_0 to every module", Range(until="2026-08")),),
        "CK616/several-by-class": (
            Known(_SILENT, "applies group_0 to every module", Range(until="2026-08")),
            Known(_ERROR, "targets that select modules by class name are not supported", Range(since="2026-08")),
        ),
        **dict.fromkeys(("CK618/format", "CK618/status", "CK618/type-missing"), ()),
        "CK621": (
            Known(_ERROR, "missing input_scale"),
            Known(Outcome.OK, "inputs are scaled while running", layers=_LINEAR, how=Evidence.SOURCE),
        ),
        "CK621/in-part": (
            Known(_ERROR, "missing input_scale"),
            Known(
                _SILENT,
                "the largest of its parts' scales counts, and one was never set",
                layers=_LINEAR,
                how=Evidence.SOURCE,
            ),
        ),
        "CK623": (Known(_ERROR, "unknown method"),),
        "CK624/block-size": (),
        "CK624/experts": (),
        "CK626": (Known(_SILENT, "one method for all"),),
        "CK704": (Known(_SLOW, "parts are requantized while loading"),),
        "CK705": (Known(_ERROR, "assertion, or the first counts"),),
        "CK804": (Known(_ERROR, "group size must be 128"),),
        "CK908": (Known(_WARNING, "as good as no scales", ALWAYS),),
    }
)
