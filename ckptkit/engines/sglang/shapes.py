"""What shapes and sizes that do not fit do in SGLang, by the code of the rule that finds them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.sglang.classes import LLAMAS

_ERROR, _SILENT = Outcome.ERROR, Outcome.SILENT
_ASSERTION = "assertion without a message"
_SHAPE = "the parameter's loader stops at the shape"
_SKIPPED = "the tensor is skipped, and the scale keeps the value it was allocated with"
#: What is built without a scheme, so that nothing takes its scales.
_NOT_BUILT = (
    Known(Outcome.OK, "no scale is looked at", layers=(Layer.EMBEDDING,)),
    Known(
        Outcome.OK, "no scale is looked at", layers=(Layer.HEAD,), formats=("quark", "fp8", "fp8-block", "quark-fp8")
    ),
)
#: What variants of CK312 are about: layers outside attention, queries, keys, or the size of both.
_HEADS = ("", "queries-", "keys-", "head-size-")

SHAPES: Outcomes = MappingProxyType(
    {
        "CK301": (Known(_ERROR, "wants [N, 1]"), *_NOT_BUILT),
        "CK302": (
            Known(_ERROR, _ASSERTION),
            Known(Outcome.OK, "one value for one expert, of whatever rank", layers=(Layer.EXPERT,)),
            *_NOT_BUILT,
        ),
        "CK303": (Known(_SILENT, "rows and columns are cut off, or zeros stand in for what is missing"),),
        "CK303/coarser": (
            Known(_ERROR, _ASSERTION),
            Known(_SILENT, _SKIPPED, formats=("fp8-block",), architectures=LLAMAS),
        ),
        "CK303/flat": (
            Known(_ERROR, "IndexError: tuple index out of range"),
            Known(_SILENT, _SKIPPED, formats=("fp8-block",), architectures=LLAMAS),
            Known(_SILENT, _SKIPPED, formats=("quark",)),
        ),
        "CK303/four": (Known(_ERROR, _ASSERTION),),
        "CK303/more-rows": (
            Known(_SILENT, "rows are cut off"),
            Known(Outcome.OK, "the first rows are taken", layers=(Layer.FUSED,)),
            Known(_ERROR, "sizes of tensors do not match", layers=(Layer.EXPERT,)),
        ),
        "CK304": (
            Known(_ERROR, _ASSERTION),
            Known(_SILENT, _SKIPPED, formats=("fp8-block",), architectures=LLAMAS),
        ),
        "CK305": (
            Known(_ERROR, _ASSERTION),
            Known(_SILENT, "no scale is looked at", formats=("modelopt/file-alone",)),
        ),
        "CK306": (Known(_ERROR, _SHAPE), *_NOT_BUILT),
        "CK307": (Known(_ERROR, _SHAPE),),
        "CK308": (Known(_SILENT, "integers are converted by value where the shape fits"),),
        "CK309/linear-attention": (Known(_ERROR, "the loader of the parts stops at one scale"),),
        "CK310": (Known(_ERROR, "no kernel; at the first request", at_request=True),),
        "CK311": (Known(_ERROR, _ASSERTION),),
        "CK312": (Known(_ERROR, _SHAPE),),
        **dict.fromkeys(
            (f"CK312/{heads}cut{part}" for heads in _HEADS for part in ("", "-in-part")),
            (Known(_SILENT, "only the first rows or columns are taken"),),
        ),
        **dict.fromkeys(
            ("CK312/short", "CK312/short-in-part"),
            (
                Known(_ERROR, _SHAPE),
                Known(_SILENT, "zeros stand in for what is missing", layers=(Layer.LINEAR, Layer.EXPERT)),
            ),
        ),
        **dict.fromkeys(("CK312/router", "CK312/router-in-part"), (Known(_ERROR, _SHAPE),)),
        "CK312/dense-layer": (Known(Outcome.OK, "experts are built in every layer"),),
        "CK313": (Known(_ERROR, _ASSERTION),),
        "CK313/exponents": (),
        "CK314": (Known(_ERROR, _ASSERTION),),
    }
)
