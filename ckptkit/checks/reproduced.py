"""How each rule was confirmed with the real libraries: the findings of ``tests/interop/test_rules.py``, in words.

A rule that is missing here rests on public reports and on reading the libraries' source; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Rule code -> what vLLM (CPU wheel) and transformers (with compressed-tensors 0.20 and Quark 0.13) did.
REPRODUCED: Mapping[str, str] = MappingProxyType(
    {
        "CK101": 'vLLM 0.32 stops: "header too large"; transformers 5.16 stops: "header too large"',
        "CK102": 'vLLM 0.32 stops: "incomplete metadata"',
        "CK103": 'vLLM 0.32 stops: "invalid shape"',
        "CK104": 'vLLM 0.32 stops: "referenced in index but missing"',
        "CK108": 'vLLM 0.32 loads, scales are left unset, or stops: "Cannot find any model weights"',
        "CK109": 'transformers 5.16 stops: "no file named"',
        "CK113": "vLLM 0.32 loads without a word; transformers 5.16 loads, lists missing keys",
        "CK115": 'vLLM 0.32 stops: "referenced in index but missing"',
        "CK116": 'vLLM 0.32 stops: "not a valid JSON file", or stops: "Cannot find any model weights"',
        "CK118": "vLLM 0.32 stops, no parameter of that name; transformers 5.16 loads, lists unexpected keys",
        "CK201": "vLLM 0.32 loads, scales are left unset; transformers 5.16 loads, lists missing keys",
        "CK202": "vLLM 0.32 stops, no parameter of that name; transformers 5.16 loads, lists unexpected keys",
        "CK203": (
            "vLLM 0.32 stops with an AttributeError on the fused layer, or stops, no parameter of that name; "
            "transformers 5.16 loads, lists missing keys"
        ),
        "CK204": (
            "vLLM 0.32 stops with an AttributeError on the fused layer; transformers 5.16 loads without a "
            "word, or loads, lists missing keys"
        ),
        "CK205": "vLLM 0.32 loads without a word",
        "CK206": "vLLM 0.32 stops, no parameter of that name",
        "CK207": "vLLM 0.32 stops, no parameter of that name",
        "CK208": "vLLM 0.32 stops with an AttributeError on the fused layer",
        "CK301": (
            "vLLM 0.32 stops with a bare AssertionError, or stops with a RuntimeError about sizes; "
            'transformers 5.16 stops: "must match the size"'
        ),
        "CK302": "vLLM 0.32 stops with a bare AssertionError",
        "CK303": "vLLM 0.32 stops with a RuntimeError about sizes; transformers 5.16 loads without a word",
        "CK304": "vLLM 0.32 stops with a RuntimeError about sizes; transformers 5.16 loads without a word",
        "CK305": "vLLM 0.32 stops with a bare AssertionError, or stops with an IndexError",
        "CK306": "vLLM 0.32 stops with a RuntimeError about sizes; transformers 5.16 loads without a word",
        "CK307": "vLLM 0.32 stops with a RuntimeError about sizes",
        "CK308": 'vLLM 0.32 loads without a word; transformers 5.16 stops: "same dtype"',
        "CK309": "vLLM 0.32 loads rightly",
        "CK311": "vLLM 0.32 stops with a bare AssertionError",
        "CK312": (
            "vLLM 0.32 stops with a RuntimeError about sizes, or stops with a bare AssertionError, or loads without a "
            'word; transformers 5.16 loads without a word, or stops: "index out of range", or stops: "must match the '
            'size"'
        ),
        "CK403": 'vLLM 0.32 loads without a word; transformers 5.16 stops: "same dtype"',
        "CK405": "vLLM 0.32 loads without a word; transformers 5.16 loads without a word",
        "CK406": "vLLM 0.32 loads without a word; transformers 5.16 loads, answers NaN",
        "CK407": "vLLM 0.32 loads without a word; transformers 5.16 loads without a word",
        "CK408": "vLLM 0.32 and transformers 5.16 load a text model rightly",
        "CK409": "vLLM 0.32 loads without a word",
        "CK410": "vLLM 0.32 loads without a word",
        "CK501": "vLLM 0.32 loads without a word",
        "CK502": "vLLM 0.32 loads without a word; transformers 5.16 loads, answers NaN, or loads without a word",
        "CK503": "vLLM 0.32 loads without a word; transformers 5.16 loads, answers NaN",
        "CK600": "vLLM 0.32 loads without a word on a real export",
        "CK601": "vLLM 0.32 stops, no parameter of that name; transformers 5.16 loads, lists unexpected keys",
        "CK602": "vLLM 0.32 loads, scales are left unset; transformers 5.16 loads, lists missing keys",
        "CK604": "vLLM 0.32 stops: \"Missing 'quant_algo'\"",
        "CK605": "vLLM 0.32 loads, scales are left unset",
        "CK606": "vLLM 0.32 stops, no parameter of that name; transformers 5.16 loads, lists unexpected keys",
        "CK608": "vLLM 0.32 loads, scales are left unset",
        "CK610": "vLLM 0.32 loads rightly, with fused names and with leaves",
        "CK611": "vLLM 0.32 stops, no parameter of that name",
        "CK617": "vLLM 0.32 stops with a bare AssertionError",
        "CK618": (
            'vLLM 0.32 stops: "No compressed-tensors compatible scheme", or loads without a word, or stops '
            "with a TypeError; transformers 5.16 loads, lists missing keys"
        ),
        "CK619": (
            'vLLM 0.32 stops: "Extra inputs are not permitted", or loads without a word; transformers 5.16 '
            'stops: "Extra inputs", or loads without a word'
        ),
        "CK620": (
            'vLLM 0.32 stops: "Sparsity support has been removed", or loads without a word; transformers 5.16 '
            "loads without a word, or loads, lists unexpected keys"
        ),
        "CK621": "vLLM 0.32 loads, scales are left unset; transformers 5.16 loads, lists missing keys",
        "CK622": (
            "vLLM 0.32 stops with an AttributeError on the fused layer; transformers 5.16 loads, lists unexpected keys"
        ),
        "CK623": (
            'vLLM 0.32 stops: "Unknown quantization method", or stops: "ModelOpt currently only supports"; '
            "transformers 5.16 loads, lists unexpected keys"
        ),
        "CK624": 'vLLM 0.32 stops: "only supports dynamic activation", or stops: "Unsupported activation scheme"',
        "CK627": (
            'vLLM 0.32 stops: "not iterable", or stops: "different quantization configuration", or stops: '
            '"output_tensors and bias"; transformers 5.16 stops: "output_tensors", or stops with a bare '
            "AssertionError"
        ),
        "CK629": (
            'vLLM 0.32 stops: "Cannot perform static token quantization"; transformers 5.16 stops: "validation errors"'
        ),
        "CK632": (
            'vLLM 0.32 stops: "expected int", or stops: "modulo by zero", or loads, scales are left unset; '
            'transformers 5.16 stops: "expected int", or stops: "modulo by zero"'
        ),
        "CK633": (
            'vLLM 0.32 stops: "Unrecognized model", or loads without a word; transformers 5.16 stops: "Unrecognized '
            'model", or loads without a word'
        ),
        "CK701": 'vLLM 0.32 stops: "Found different quantization schemes"',
        "CK702": "vLLM 0.32 stops with a RuntimeError about sizes",
        "CK801": 'vLLM 0.32 stops: "not divisible by weight quantization block_n" on a real export',
        "CK805": (
            'transformers 5.16 stops: "unflatten" on llmcompressor-block; transformers 5.16 stops: "must each '
            'be divisible by block_size" on quark-block'
        ),
        "CK901": "vLLM 0.32 loads without a word; transformers 5.16 loads, lists missing keys",
        "CK902": "vLLM 0.32 loads without a word; transformers 5.16 loads, lists unexpected keys",
        "CK903": (
            "vLLM 0.32 stops with an AttributeError on the fused layer; transformers 5.16 loads, lists missing keys"
        ),
        "CK904": "vLLM 0.32 loads without a word, or stops with a bare AssertionError",
        "CK906": "vLLM 0.32 loads without a word, or stops with a bare AssertionError",
        "CK907": 'vLLM 0.32 stops: "into parameter", or stops: "scalar"',
        "CK911": "vLLM 0.32 loads without a word",
        "CK912": (
            'vLLM 0.32 stops: "not a valid QuantizationStrategy", or stops: "num_bits=8, type=float", or '
            'loads without a word, or stops: "symmetric"'
        ),
    }
)
