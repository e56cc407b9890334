"""CK613 router-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.config.expert_modules import outside_experts


@rule(
    "CK613",
    "router-quantized",
    Severity.ERROR,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/llm-compressor#2714",
        "NVIDIA/Model-Optimizer#1858",
        "kekzl/imp#1159",
    ),
)
def router_quantized(context: Context) -> Iterator[Fault]:
    """The router of a mixture of experts, or the gate of its shared expert, is stored in FP8.

    Why it hurts: engines build routers unquantized and stop at the scale; where one loads, three mantissa bits choose
    the experts. A router in high precision that the skip list forgets is CK605.

    Example: ``model.layers.0.mlp.gate.weight`` F8_E4M3 [128, 2048].

    Fix: store the router in BF16 and list it in the skip list.
    """
    for module in outside_experts(context):
        name = module.name
        if names.is_router(name):
            message = "a router chooses experts by small differences, and engines hold it in high precision"
            yield Fault(
                "router-quantized", message, module.weight.shard, module.weight.name, "BF16", module.weight.dtype
            )
