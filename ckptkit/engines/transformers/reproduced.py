"""What transformers was seen to do where rules fire. Written by ``make reproduced``; not by hand."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.seen import Reproduced, Seen

REPRODUCED: Reproduced = MappingProxyType(
    {
        "CK101": Seen(("error: header too large",)),
        "CK109": Seen(("error: no file named",)),
        "CK113": Seen((None, "missing", None)),
        "CK118": Seen(("unexpected", "unexpected")),
        "CK201": Seen(("missing", "missing")),
        "CK202": Seen(("unexpected",)),
        "CK203": Seen(("missing", None)),
        "CK204": Seen(("silent", "missing")),
        "CK207": Seen(exports={"mixtral/llmcompressor-dynamic": "missing", "mixtral/quark-ptpc-experts": "missing"}),
        "CK301": Seen(("error: must match the size", "error: must match the size", None)),
        "CK303": Seen(("silent",)),
        "CK304": Seen(("silent",)),
        "CK306": Seen(("silent",)),
        "CK308": Seen(("error: same dtype",)),
        "CK312": Seen(
            (
                "silent",
                "silent",
                "error: index out of range",
                "error: must match the size",
                "silent",
                "silent",
                None,
                "silent",
                "silent",
            )
        ),
        "CK403": Seen(("error: same dtype",)),
        "CK405": Seen(("silent",)),
        "CK406": Seen(("nan",)),
        "CK407": Seen(("silent",)),
        "CK408": Seen(("silent", "silent")),
        "CK502": Seen(("nan", "silent")),
        "CK503": Seen(("nan", "nan")),
        "CK601": Seen(("unexpected",)),
        "CK602": Seen(("missing",)),
        "CK606": Seen(("unexpected",)),
        "CK618": Seen((None, "missing", None)),
        "CK619": Seen(("error: Extra inputs", "silent", "silent")),
        "CK620": Seen(("silent", "unexpected")),
        "CK621": Seen(("missing",), exports={"llama/quark-fp8-file2file": "missing"}),
        "CK622": Seen(("unexpected",)),
        "CK623": Seen(("unexpected", "unexpected", "unexpected", "unexpected")),
        "CK627": Seen(
            (None, "error: output_tensors", "error: AssertionError", "error: KeyError", "error: AssertionError")
        ),
        "CK629": Seen(("error: validation errors",)),
        "CK632": Seen(
            (
                "error: expected int, got str",
                "error: expected int, got float",
                "error: modulo by zero",
                None,
                "error: KeyError",
            )
        ),
        "CK633": Seen(("silent", "error: Unrecognized model")),
        "CK805": Seen(
            exports={
                "llama-block-ragged/llmcompressor-block": "error: unflatten",
                "llama-block-ragged/quark-block": "error: must each be divisible by block_size",
            }
        ),
        "CK901": Seen(("missing", "missing")),
        "CK902": Seen(("unexpected",)),
        "CK903": Seen(("missing",)),
    }
)
