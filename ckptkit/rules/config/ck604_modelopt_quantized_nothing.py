"""CK604 modelopt-quantized-nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import HF_QUANT_FILE, Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault, excerpt


@rule(
    "CK604",
    "modelopt-quantized-nothing",
    Severity.WARNING,
    reports=(
        "NVIDIA/Model-Optimizer#2203",
        "vllm-project/vllm-omni#4202",
    ),
)
def modelopt_quantized_nothing(context: Context) -> Iterator[Fault]:
    """A ModelOpt config names no algorithm, or mixed precision without a single layer.

    Why it hurts: the quantizer's patterns matched nothing. The export looks finished, and engines stop at the missing
    algorithm or serve a BF16 model under an FP8 name.

    Example: ``{"quantization": {"quant_algo": null}}`` in ``hf_quant_config.json``.

    Fix: export again with patterns that match.
    """
    places: list[tuple[str, Mapping[str, Any]]] = []
    if context.method == "modelopt":
        nested = context.block.get("quantization")
        places.append(("config.json", nested if isinstance(nested, Mapping) else context.block))
    side = context.hf_quant_config
    if side is not None and isinstance(side.get("quantization"), Mapping):
        places.append((HF_QUANT_FILE, side["quantization"]))
    for file, section in places:
        algorithm = str(section.get("quant_algo") or "").upper()
        if not algorithm:
            yield Fault(
                "modelopt-nothing", "no quant_algo", file, None, "an algorithm", excerpt(section.get("quant_algo"))
            )
        elif (
            algorithm == "MIXED_PRECISION" and not section.get("quantized_layers") and not section.get("config_groups")
        ):
            yield Fault("modelopt-nothing", "mixed precision without layers", file, None, "quantized_layers", "none")
