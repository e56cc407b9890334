"""CK601 quantization-config-missing."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK601",
    "quantization-config-missing",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#53950",
        "vllm-project/vllm#53967",
    ),
)
def quantization_config_missing(context: Context) -> Iterator[Fault]:
    """FP8 weights are stored, but config.json has no quantization_config.

    Why it hurts: engines load the bytes as if they were the values, or stop at the first scale they do not know.

    Example: the recipe was left in ``recipe.yaml`` and never reached config.json.

    Fix: restore the block that the exporter wrote.
    """
    yield from context.faults("config-no-quantization")
