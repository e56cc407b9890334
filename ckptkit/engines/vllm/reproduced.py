"""What vLLM was seen to do where rules fire. Written by ``make reproduced``; not by hand."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.seen import Reproduced, Seen

REPRODUCED: Reproduced = MappingProxyType(
    {
        "CK101": Seen(("error: header too large",)),
        "CK102": Seen(("error: incomplete metadata",)),
        "CK103": Seen(("error: invalid shape",)),
        "CK104": Seen(("error: referenced in index but missing",)),
        "CK108": Seen(("unset", "error: Cannot find any model weights")),
        "CK113": Seen(("silent", "silent", None)),
        "CK115": Seen(("error: referenced in index but missing",)),
        "CK116": Seen(("error: not a valid JSON file", "error: Cannot find any model weights")),
        "CK118": Seen(("error: no module or parameter named", "error: no module or parameter named")),
        "CK201": Seen(("unset", "unset")),
        "CK202": Seen(("error: no module or parameter named",)),
        "CK203": Seen(("error: QKVParallelLinear", "error: no module or parameter named")),
        "CK204": Seen(("error: QKVParallelLinear", "error: QKVParallelLinear")),
        "CK205": Seen(("silent",)),
        "CK206": Seen(("error: no module or parameter named", "error: no module or parameter named")),
        "CK207": Seen(
            (None, "error: no module or parameter named"),
            exports={"mixtral/quark-ptpc-experts": "error: no module or parameter named"},
        ),
        "CK208": Seen(
            (
                "error: QKVParallelLinear",
                "error: QKVParallelLinear",
                "error: QKVParallelLinear",
                "error: There is no module or parameter named",
            )
        ),
        "CK301": Seen(("error: AssertionError", "error: exceeds dimension size", "error: AssertionError")),
        "CK302": Seen(("error: AssertionError",)),
        "CK303": Seen(("error: exceeds dimension size",)),
        "CK304": Seen(("error: exceeds dimension size",)),
        "CK305": Seen(("error: AssertionError", "error: IndexError")),
        "CK306": Seen(("error: exceeds dimension size",)),
        "CK307": Seen(("error: exceeds dimension size",)),
        "CK308": Seen(("silent",)),
        "CK309": Seen(("silent", "silent")),
        "CK311": Seen(("error: AssertionError",)),
        "CK312": Seen(
            (
                "error: exceeds dimension size",
                "error: must match the size",
                "error: AssertionError",
                "silent",
                "silent",
                "silent",
                None,
                "error: exceeds dimension size",
                None,
            )
        ),
        "CK403": Seen(("silent",)),
        "CK405": Seen(("silent",)),
        "CK406": Seen(("silent",)),
        "CK407": Seen(("silent",)),
        "CK408": Seen(("silent", "silent")),
        "CK409": Seen(("silent",)),
        "CK410": Seen(("silent",)),
        "CK501": Seen(("silent", "silent")),
        "CK502": Seen(("silent", "silent")),
        "CK503": Seen(("silent", "silent")),
        "CK600": Seen(exports={"llama/quark-fp8-fake": "silent"}),
        "CK601": Seen(("error: no module or parameter named",)),
        "CK602": Seen(("unset",)),
        "CK604": Seen((None, "error: Missing 'quant_algo'")),
        "CK605": Seen(("unset", "unset"), exports={"qwen3_moe/quark-ptpc": "unset"}),
        "CK606": Seen(("error: no module or parameter named",)),
        "CK608": Seen(("unset", None)),
        "CK610": Seen(("silent", "silent")),
        "CK611": Seen(("error: no module or parameter named", "error: no module or parameter named")),
        "CK617": Seen(("error: AssertionError", None)),
        "CK618": Seen(("error: No compressed-tensors compatible scheme", "silent", "error: TypeError")),
        "CK619": Seen(("error: Extra inputs are not permitted", "silent", "silent")),
        "CK620": Seen(("error: Sparsity support has been removed", "silent")),
        "CK621": Seen(("unset",), exports={"llama/quark-fp8-file2file": "unset"}),
        "CK622": Seen(("error: QKVParallelLinear",)),
        "CK623": Seen(("error: Unknown quantization method", "error: ModelOpt currently only supports", None, None)),
        "CK624": Seen(("error: only supports dynamic activation", "error: Unsupported activation scheme")),
        "CK627": Seen(
            (
                "error: not iterable",
                "error: different quantization configuration",
                "error: output_tensors and bias",
                "error: different quantization configuration",
                None,
            ),
            exports={"llama/quark-fp8-kv-excluded": "error: kv_cache_group"},
        ),
        "CK629": Seen(("error: Cannot perform static token quantization",)),
        "CK632": Seen(
            (
                "error: expected int, got str",
                "error: expected int, got float",
                "error: modulo by zero",
                "unset",
                "error: Unsupported activation",
            )
        ),
        "CK633": Seen(("silent", "error: Unrecognized model")),
        "CK701": Seen(
            ("error: Found different quantization schemes", "error: Layer model.layers.0.mlp.experts has no parameter")
        ),
        "CK702": Seen(("error: exceeds dimension size", "silent")),
        "CK801": Seen(
            exports={
                "llama-block-ragged/llmcompressor-block": "error: not divisible by weight quantization block_n",
                "llama-block-ragged/quark-block": "error: not divisible by weight quantization block_n",
            }
        ),
        "CK901": Seen(("silent", "silent")),
        "CK902": Seen(("silent",)),
        "CK903": Seen(("error: QKVParallelLinear",), exports={"phi3/quark-fp8-kv": "error: QKVParallelLinear"}),
        "CK904": Seen(("silent", "error: AssertionError")),
        "CK906": Seen(("silent", "silent", "error: AssertionError")),
        "CK907": Seen(("error: into parameter", "error: scalar")),
        "CK911": Seen(("silent",)),
        "CK912": Seen(
            ("error: not a valid QuantizationStrategy", "error: num_bits=8, type=float", "silent", "error: symmetric")
        ),
    }
)
