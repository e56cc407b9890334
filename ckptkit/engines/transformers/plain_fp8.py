"""What defects do to plain FP8 in transformers, beside what they do to every format.

Its own quantizer makes ``FP8Linear`` and ``FP8Experts`` of modules, and multiplies with the kernels of the Hub. What
these assert of shapes stops the first request: huggingface/kernels-community, finegrained-fp8 of version 4 at 1994f2b5
(2026-07-15), which 5.16.1 and 5.17.0 ask for. Rows were run with 5.17.0, the products of kernels taken in plain torch.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.layers import Layer
from ckptkit.engines.releases import Evidence, Range
from ckptkit.engines.transformers.classes import OTHER_EXPERTS, WITH_PLAN

_ERROR, _SILENT, _WARNING = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING
_EXPERTS = (Layer.EXPERT, Layer.STACK)
_BLOCKS, _WHOLE = ("fp8-block",), ("fp8-transformers",)
_FP8 = ("fp8", *_BLOCKS, *_WHOLE)
_TABLES = Range(since="5.17")
_KERNEL = "matmul_2d of finegrained-fp8"
_GROUPED = "matmul_grouped of finegrained-fp8"
_SHAPE = "AssertionError: Bs shape ... != expected; at the first request"
_NO_CACHE = "scales of the cache are left out, and the cache is not quantized"
_UNSCALED = "FP8 experts are built, and their scales listed as missing"
_TWO_SCALES = "two scales for gate and up are allocated, where the kernel wants one"
_NO_SUCH_EXPERTS = "FP8 experts are built in place of others: with biases that they have not, or called otherwise"
_NOT_MADE_UP = "the experts stay as they were allocated, and are listed"


def _unless_refused(outcome: Outcome, note: str, formats: tuple[str, ...] = ()) -> tuple[Known, ...]:
    """What happens to plain FP8 in the classes of which 5.16 refuses every such config."""
    refused = "every plain FP8 config of this class is refused"
    return (
        Known(_ERROR, refused, Range(until="5.17"), formats=formats, architectures=WITH_PLAN),
        Known(outcome, note, Range(since="5.17"), formats=formats, architectures=WITH_PLAN),
    )


#: What is known of plain FP8 alone. Where a key is a variant that no other format has a row for, the rows of what it is
#: a variant of hold for these.
OF_PLAIN_FP8: Outcomes = MappingProxyType(
    {
        "CK201/experts-in-part": (
            Known(_ERROR, "fewer scales than experts; at the first request", formats=_FP8, where=_GROUPED),
        ),
        # Two scales are allocated for gate and up, and the kernel asserts one: whatever fills them.
        "CK207": (
            Known(_WARNING, _NOT_MADE_UP, formats=_BLOCKS, leaves_out=_EXPERTS),
            Known(_ERROR, _TWO_SCALES, formats=("fp8", *_WHOLE), where=_GROUPED),
        ),
        # FP8Experts is made of whatever is called experts and is on no list.
        **dict.fromkeys(
            ("CK207/fused", "CK207/fused-misplaced"),
            (
                Known(_WARNING, _UNSCALED, formats=_BLOCKS),
                Known(_ERROR, _TWO_SCALES, formats=("fp8", *_WHOLE), where=_GROUPED),
                Known(_ERROR, _NO_SUCH_EXPERTS, formats=_FP8, architectures=(*OTHER_EXPERTS, "GptOss")),
            ),
        ),
        "CK605": (
            Known(_WARNING, _UNSCALED, formats=_BLOCKS, layers=(Layer.EXPERT,)),
            Known(_ERROR, _TWO_SCALES, formats=("fp8", *_WHOLE), layers=(Layer.EXPERT,), where=_GROUPED),
            Known(
                _ERROR,
                _NO_SUCH_EXPERTS,
                formats=_FP8,
                architectures=(*OTHER_EXPERTS, "GptOss"),
                layers=(Layer.EXPERT,),
            ),
        ),
        "CK207/unmapped": (Known(_WARNING, _NOT_MADE_UP, formats=_BLOCKS, leaves_out=_EXPERTS),),
        "CK206/part": (
            Known(
                _WARNING,
                _NOT_MADE_UP,
                formats=_BLOCKS,
                architectures=("MiniMaxM2For", "MixtralFor"),
                layers=_EXPERTS,
                leaves_out=_EXPERTS,
            ),
        ),
        "CK207/unmapped/stack": (Known(Outcome.OK, "stacks have the names that are looked for", formats=_FP8),),
        **dict.fromkeys(
            ("CK303", "CK303/more-rows", "CK306/one-value", "CK306/one-value-throughout"),
            (Known(_ERROR, _SHAPE, formats=_BLOCKS, where=_KERNEL),),
        ),
        **dict.fromkeys(
            ("CK306/by-row", "CK306/by-column"), (Known(_ERROR, _SHAPE, formats=(*_BLOCKS, *_WHOLE), where=_KERNEL),)
        ),
        **dict.fromkeys(
            tuple(
                f"CK303/{word}other-name" for word in ("", "more-rows/", "fewer-rows/", "coarser/", "flat/", "four/")
            ),
            (Known(Outcome.OK, "scales by this name are left out", formats=_BLOCKS),),
        ),
        # A block that is a whole weight is multiplied with one value, whatever its axes are.
        "CK305/whole-weight": (
            Known(Outcome.OK, "one value is taken for the whole weight", formats=_BLOCKS, where=_KERNEL),
            Known(_ERROR, "shapes do not fit", formats=_BLOCKS, layers=_EXPERTS, where=_GROUPED),
        ),
        "CK404": (Known(_SILENT, "scales that are declared as powers of two are rounded to those", formats=_FP8),),
        "CK602": _unless_refused(_WARNING, "missing scales are listed and made up", formats=_FP8),
        **dict.fromkeys(
            ("CK602/dequantized", "CK605/dequantized"),
            (
                Known(Outcome.OK, "plain weights are taken as they are", formats=_FP8, where="Fp8Dequantize"),
                *_unless_refused(Outcome.OK, "plain weights are taken as they are", formats=_FP8),
            ),
        ),
        "CK605/converted": (
            Known(_WARNING, "the table is built in FP8, and its scale listed as missing", _TABLES, formats=_FP8),
        ),
        "CK602/beside-scales/codes": _unless_refused(Outcome.OK, "codes in a wider type are cast back", formats=_FP8),
        # What a config says wrong is seen before its class is.
        "CK624": (
            Known(_WARNING, "scales of inputs are listed as missing, and made up"),
            *_unless_refused(_WARNING, "scales of inputs are listed as missing, and made up"),
        ),
        **dict.fromkeys(
            ("CK624/scheme", "CK624/size", "CK629/fp8", "CK629/fp8-block"),
            (Known(_ERROR, "refuses the config", where="utils/quantization_config.py (FineGrainedFP8Config)"),),
        ),
        "CK624/scheme-unsaid": (Known(Outcome.OK, "dynamic inputs are taken"),),
        "CK624/scheme-letters": (Known(Outcome.OK, "letters do not matter"),),
        "CK624/unsaid-blocks": (Known(Outcome.OK, "blocks of 128x128 are built"),),
        "CK624/block-size": (Known(_WARNING, "builds blocks of 128x128", how=Evidence.SOURCE),),
        "CK624/block-size/own-names": (
            Known(_ERROR, "AssertionError: Bs must be 2D, got ndim=0; at the first request", where=_KERNEL),
        ),
        "CK624/block-size/experts": (
            Known(_WARNING, "builds blocks of 128x128"),
            Known(
                _WARNING,
                "builds blocks of 128x128, and leaves scales by this name out",
                formats=("fp8",),
                leaves_out=(Layer.EXPERT,),
            ),
        ),
        "CK624/experts": (),
        "CK403": (Known(Outcome.OK, "bytes are taken for exponents", formats=_BLOCKS, where="decode_ue8m0_scale"),),
        "CK403/whole-weight": (
            Known(_SILENT, "bytes are used as numbers", formats=_BLOCKS, where="w8a8_tensor_dynamic_fp8_matmul_kernel"),
        ),
        **dict.fromkeys(
            (
                *("CK901", "CK904", "CK905", "CK906", "CK907", "CK907/heads", "CK907/other-number", "CK908"),
                "CK912/elements",
            ),
            (Known(Outcome.OK, _NO_CACHE, formats=_FP8, where="quantizers/quantizer_finegrained_fp8.py"),),
        ),
    }
)
