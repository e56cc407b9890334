"""CK603 two-configs-disagree."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK603",
    "two-configs-disagree",
    Severity.WARNING,
    reports=(
        "NVIDIA/TensorRT-LLM#3167",
        "sgl-project/sglang#13919",
        "vllm-project/vllm#22073",
    ),
)
def two_configs_disagree(context: Context) -> Iterator[Fault]:
    """``hf_quant_config.json`` and config.json describe different quantizations.

    Why it hurts: TensorRT-LLM prefers the former, vLLM and SGLang the latter. Each engine then runs another model.

    Example: ``quant_algo: NVFP4`` in one and ``FP8`` in the other after a second export into the same folder.

    Fix: decide which is right and write the other from it.
    """
    yield from context.faults("configs-disagree")
