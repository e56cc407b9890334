"""What each engine does about each defect, by rule code: the one table of consequences.

A row is (engine, outcome, note), for the version that :data:`~ckptkit.engines.effects.ENGINES` names, or (engine,
outcome, note, versions) where only other versions are known to behave so. Engines that are not listed were not seen
to suffer. Where the consequence depends on the format or on the entry, the rule itself gives the effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.effects import ENGINES, Effect, Outcome

_ERROR, _SILENT, _WARNING, _SLOW = Outcome.ERROR, Outcome.SILENT, Outcome.WARNING, Outcome.SLOW
_Row = tuple[str, Outcome, str] | tuple[str, Outcome, str, str]

_EVERYONE = ("vllm", "sglang", "trtllm", "transformers", "quark")
_UNKNOWN_NAME = "no parameter has this name"
_UNSET = "the scale keeps the value it was allocated with"
_ASSERTION = "assertion without a message"


def _all(outcome: Outcome, note: str) -> tuple[_Row, ...]:
    return tuple((engine, outcome, note, "any") for engine in _EVERYONE)


_ROWS: Mapping[str, tuple[_Row, ...]] = MappingProxyType(
    {
        "CK101": _all(_ERROR, "header too large"),
        "CK102": _all(_ERROR, "incomplete metadata or buffer"),
        "CK103": _all(_ERROR, "invalid header"),
        "CK104": (
            ("vllm", _ERROR, "missing file"),
            ("transformers", _ERROR, "missing file"),
            ("sglang", _SILENT, "weights stay uninitialised", "before 2026-08"),
        ),
        "CK105": (
            ("vllm", _SILENT, "where no shard has it: quantized models are not checked for missing tensors"),
            ("sglang", _SILENT, "the parameter keeps its first value"),
            ("transformers", _WARNING, "missing keys are listed and filled at random"),
        ),
        "CK106": (
            ("vllm", _SILENT, "every tensor of an opened shard is loaded"),
            ("sglang", _SILENT, "every tensor of an opened shard is loaded"),
        ),
        "CK107": (
            ("vllm", _SILENT, "the last copy wins"),
            ("sglang", _SILENT, "the last copy wins"),
        ),
        "CK108": (("vllm", _SILENT, "reads consolidated files instead of the shards, and their scales stay unset"),),
        "CK109": (("transformers", _ERROR, "no file of the expected name"),),
        "CK111": (("transformers", _ERROR, "unknown metadata format", "before 4.36"),),
        "CK113": (
            ("vllm", _SILENT, "the stored head is dropped"),
            ("transformers", _WARNING, "a stored head that differs is kept; a missing one is made up and listed"),
        ),
        "CK114": (
            ("vllm", _SILENT, "quantized models are not checked for missing tensors"),
            ("transformers", _WARNING, "missing keys are listed and filled at random"),
        ),
        "CK115": (("vllm", _ERROR, "file not found", "any"), ("transformers", _ERROR, "file not found", "any")),
        "CK116": _all(_ERROR, "unreadable JSON"),
        "CK118": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "the layers are left out and listed as unexpected"),
        ),
        "CK201": (
            ("vllm", _SILENT, _UNSET),
            ("sglang", _SILENT, _UNSET),
            ("transformers", _WARNING, "missing keys are listed; the scale is made up"),
        ),
        "CK202": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("sglang", _WARNING, "the tensor is skipped"),
            ("transformers", _WARNING, "unexpected keys are listed"),
        ),
        "CK203": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("sglang", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "listed as missing and unexpected; the scale is made up"),
        ),
        "CK204": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("sglang", _WARNING, "the tensor is skipped"),
            ("transformers", _WARNING, "quantizer names are known; weight_scale_inv is listed as unexpected"),
        ),
        "CK205": _all(_SILENT, "the reciprocal is multiplied with"),
        "CK206": (
            ("sglang", _SILENT, "weights of unknown names are dropped"),
            ("vllm", _ERROR, _UNKNOWN_NAME),
        ),
        "CK207": (("transformers", _WARNING, "the experts stay at random values, and are listed"),),
        "CK208": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("trtllm", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "listed as unexpected"),
        ),
        "CK301": (
            ("vllm", _ERROR, _ASSERTION),
            ("transformers", _SILENT, "broadcast along the wrong axis where the weight is square"),
            ("trtllm", _ERROR, "wants [N] for [N, 1]"),
            ("sglang", _ERROR, "wants [N, 1]"),
        ),
        "CK302": (("vllm", _ERROR, _ASSERTION),),
        "CK303": (
            ("vllm", _ERROR, "the parameter's loader stops at the shape"),
            ("transformers", _SILENT, "broadcast where the sizes allow it"),
        ),
        "CK304": (
            ("vllm", _ERROR, "the parameter's loader stops at the shape"),
            ("sglang", _ERROR, _ASSERTION),
            ("transformers", _SILENT, "broadcast where the sizes allow it"),
        ),
        "CK305": (
            ("vllm", _ERROR, "index error or assertion"),
            ("transformers", _ERROR, "shapes do not fit"),
            ("trtllm", _ERROR, "wants a plain grid"),
        ),
        "CK306": (
            ("vllm", _ERROR, "the parameter's loader stops at the shape"),
            ("transformers", _SILENT, "broadcast"),
        ),
        "CK307": (
            ("vllm", _ERROR, "the parameter's loader stops at the shape"),
            ("transformers", _ERROR, "shapes cannot be multiplied"),
        ),
        "CK308": (
            ("vllm", _SILENT, "integers are converted by value where the shape fits"),
            ("sglang", _ERROR, "depends on the GEMM backend"),
            ("transformers", _ERROR, "dtypes do not fit"),
        ),
        "CK309": (
            ("vllm", _SILENT, "the slots of the other parts stay unset", "before 0.32"),
            ("trtllm", _ERROR, "wants one scale for each part"),
        ),
        "CK310": (
            ("vllm", _ERROR, "no kernel; at the first request, on GPUs"),
            ("sglang", _ERROR, "no kernel; at the first request"),
        ),
        "CK311": (("vllm", _ERROR, _ASSERTION), ("transformers", _ERROR, "shapes do not fit")),
        "CK312": (
            ("vllm", _ERROR, "the parameter's loader stops at the shape"),
            ("transformers", _SILENT, "quantized weights keep their stored shape; others are refused"),
        ),
        "CK401": _all(_SILENT, "the stored scale is imprecise"),
        "CK402": (
            ("vllm", _WARNING, "converted by value on most paths"),
            ("sglang", _SILENT, "exponents are copied as numbers on some paths"),
        ),
        "CK403": (
            ("vllm", _SILENT, "bytes are used as numbers"),
            ("transformers", _ERROR, "dtypes do not fit"),
        ),
        "CK404": (
            ("vllm", _SILENT, "weights are requantized, or the mantissa is dropped, on Blackwell"),
            ("sglang", _SILENT, "the mantissa is dropped on Blackwell"),
        ),
        "CK405": (
            ("vllm", _WARNING, "cast by value; no word on fused layers"),
            ("sglang", _ERROR, "mixed encodings"),
            ("transformers", _SILENT, "the numbers are twice too small"),
        ),
        "CK406": (
            ("vllm", _WARNING, "cast by value; no word on fused layers"),
            ("transformers", _SILENT, "garbage or NaN"),
        ),
        "CK407": (("vllm", _SILENT, "cast by value"), ("transformers", _SILENT, "cast by value")),
        "CK408": (("transformers", _ERROR, "a composite model is built in float8", "reports before 5.16"),),
        "CK409": (("vllm", _SILENT, "converted by value"), ("transformers", _SILENT, "converted by value")),
        "CK410": (("vllm", _SILENT, "converted by value"),),
        "CK501": (("vllm", _SILENT, "NaN for some prompts where a path divides by the scale"),),
        "CK502": _all(_SILENT, "garbage"),
        "CK503": _all(_SILENT, "NaN outputs"),
        "CK504": _all(_SILENT, "clipped weights"),
        "CK505": _all(_SILENT, "garbage"),
        "CK506": (
            ("vllm", _SILENT, "activations on a grid that was never calibrated"),
            ("trtllm", _SILENT, "activations on a grid that was never calibrated"),
        ),
        "CK601": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("sglang", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "codes are taken for values; the scales are listed as unexpected"),
        ),
        "CK602": (
            ("vllm", _SILENT, "weights are cast by value, scales stay unset"),
            ("sglang", _ERROR, "quantized weights expected"),
            ("transformers", _WARNING, "missing scales are listed and made up"),
        ),
        "CK603": (
            ("trtllm", _SILENT, "hf_quant_config.json counts"),
            ("vllm", _SILENT, "config.json counts"),
            ("sglang", _SILENT, "config.json counts"),
        ),
        "CK604": (
            ("vllm", _ERROR, "missing quant_algo"),
            ("trtllm", _SILENT, "serves the unquantized model"),
        ),
        "CK605": (
            ("vllm", _SILENT, "cast to FP8 by value, the scale stays unset"),
            ("sglang", _SILENT, "cast to FP8 by value"),
            ("transformers", _WARNING, "missing scales are listed"),
        ),
        "CK606": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "codes are taken for values; the scale is listed as unexpected"),
        ),
        "CK607": (
            ("vllm", _SILENT, "the module that was meant is quantized"),
            ("transformers", _SILENT, "the module that was meant is quantized"),
        ),
        "CK609": (
            ("vllm", _SILENT, "reads ignored_layers first"),
            ("transformers", _SILENT, "reads modules_to_not_convert first"),
            ("trtllm", _SILENT, "reads modules_to_not_convert only"),
        ),
        "CK610": (("sglang", _SILENT, "fused names are not recognised", "before 2026-06"),),
        "CK611": (
            ("vllm", _ERROR, "no scale parameter, unless compressed-tensors targets the head by name"),
            ("sglang", _SILENT, "the head's scale is dropped"),
            ("trtllm", _SILENT, "the head is forced to BF16"),
        ),
        "CK612": (("vllm", _ERROR, _UNKNOWN_NAME), ("sglang", _SILENT, "the tower runs without scales")),
        "CK613": (("vllm", _ERROR, _UNKNOWN_NAME), ("sglang", _ERROR, _UNKNOWN_NAME)),
        "CK614": (
            ("vllm", _SILENT, "no drafted token is accepted"),
            ("sglang", _SILENT, "no drafted token is accepted"),
        ),
        "CK615": (("vllm", _SILENT, "codes are taken for values"),),
        "CK616": (("trtllm", _ERROR, "looks for group_0"),),
        "CK617": (
            ("vllm", _SILENT, "takes the first pattern in the config's order"),
            ("transformers", _SILENT, "prefers exact names and sorts patterns"),
        ),
        "CK618": (
            ("vllm", _ERROR, "no scheme without format; INT8 without type; preset names fail"),
            ("transformers", _SILENT, "garbage unless quantization_status is compressed"),
        ),
        "CK619": (
            ("vllm", _ERROR, "unknown keys are refused"),
            ("sglang", _ERROR, "unknown keys are refused"),
            ("transformers", _ERROR, "unknown keys are refused"),
        ),
        "CK620": (
            ("vllm", _ERROR, "sparsity targets are refused"),
            ("transformers", _WARNING, "compression_config is not found: codes are taken for values"),
        ),
        "CK621": (
            ("vllm", _SILENT, _UNSET),
            ("trtllm", _ERROR, "missing input_scale"),
        ),
        "CK622": (
            ("vllm", _ERROR, _UNKNOWN_NAME),
            ("sglang", _ERROR, _UNKNOWN_NAME),
            ("transformers", _WARNING, "listed as unexpected"),
        ),
        "CK623": (
            ("vllm", _ERROR, "unknown method"),
            ("sglang", _ERROR, "unknown method"),
            ("trtllm", _ERROR, "unknown method"),
            ("transformers", _WARNING, "the method is skipped and codes are taken for values"),
        ),
        "CK624": (("vllm", _ERROR, "refused when the config is read"), ("sglang", _ERROR, "refused")),
        "CK625": (
            ("vllm", _WARNING, "found for known multimodal classes only"),
            ("transformers", _SILENT, "not found"),
        ),
        "CK626": (
            ("vllm", _SILENT, "scales of the other method are skipped"),
            ("trtllm", _SILENT, "one method for all"),
        ),
        "CK627": (
            ("vllm", _ERROR, "null keys and missing entries fail"),
            ("transformers", _ERROR, "a default without output_tensors, and quantized outputs, fail"),
        ),
        "CK628": (("vllm", _SLOW, "no fusion of shared experts on ROCm"),),
        "CK631": (
            ("vllm", _ERROR, "the load never ends"),
            ("sglang", _ERROR, "the load never ends"),
            ("transformers", _ERROR, "the load never ends"),
        ),
        "CK632": (
            ("vllm", _ERROR, "the config is refused; layers of default sizes stay unset"),
            ("sglang", _ERROR, "division by zero heads"),
            ("transformers", _ERROR, "the config is refused; layers of default sizes cannot be filled"),
        ),
        "CK633": (
            ("vllm", _ERROR, "unrecognized model"),
            ("transformers", _ERROR, "unrecognized model"),
        ),
        "CK701": (("vllm", _ERROR, "different schemes for the parts"), ("sglang", _ERROR, "different schemes")),
        "CK702": (("vllm", _SILENT, "the first part's scheme counts, or an assertion"),),
        "CK703": (("vllm", _SILENT, "BF16 values land in an FP8 parameter"), ("sglang", _SILENT, "the same")),
        "CK704": (("vllm", _SLOW, "parts are requantized while loading"), ("trtllm", _SLOW, "the same")),
        "CK705": (("vllm", _SILENT, "the largest counts"), ("trtllm", _ERROR, "assertion, or the first counts")),
        "CK801": (("vllm", _ERROR, "output size not divisible by block_n"), ("sglang", _ERROR, "the same")),
        "CK803": (("vllm", _SLOW, "no CUTLASS block kernel"),),
        "CK804": (
            ("trtllm", _ERROR, "group size must be 128"),
            ("vllm", _SLOW, "reference kernels, where there are any"),
        ),
        "CK805": (
            ("transformers", _ERROR, "inputs are no whole number of groups; at the first request"),
            ("quark", _ERROR, "refuses partial blocks; at the first request"),
        ),
        "CK902": (("vllm", _SILENT, "scales are ignored"), ("sglang", _SILENT, "scales are dropped")),
        "CK903": (("vllm", _ERROR, "attribute error on the fused projection"), ("sglang", _SILENT, "1.0 is used")),
        "CK906": (
            ("vllm", _ERROR, "assertion for zero once the cache is FP8"),
            ("sglang", _SILENT, "what is not positive becomes 1.0"),
            ("transformers", _SILENT, "NaN"),
        ),
        "CK907": (("vllm", _ERROR, "expects a scalar"), ("sglang", _ERROR, "expects a scalar")),
        "CK908": _all(_WARNING, "as good as no scales"),
        "CK909": (("vllm", _SILENT, "written with one scale and read with the other"),),
        "CK910": (("vllm", _WARNING, "1.0 is used"),),
        "CK912": (("vllm", _ERROR, "refused"), ("sglang", _WARNING, "the scheme is dropped")),
    }
)


def outcomes_of(code: str) -> tuple[Effect, ...]:
    """The usual effects of a rule's defect; none when it concerns files and no engine.

    >>> str(outcomes_of("CK302")[0])
    'vLLM 0.32.0: error (assertion without a message)'
    """
    return tuple(
        Effect(row[0], row[3] if len(row) == 4 else ENGINES[row[0]].version, row[1], row[2])
        for row in _ROWS.get(code, ())
    )


def judged_codes() -> frozenset[str]:
    """The codes that the table speaks of."""
    return frozenset(_ROWS)
