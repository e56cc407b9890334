"""CK604 modelopt-quantized-nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.storage.container import CONFIG_FILE


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
    known = () if context.dialect is None else (CONFIG_FILE, *context.dialect.side_files)
    alone = config_block.locate(context.config) is None
    for fault in context.faults("modelopt-nothing"):
        beside = "side-alone" if alone else None
        yield Observation.of(fault, variant="beside-another" if known and fault.file not in known else beside)
