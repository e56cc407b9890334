"""CK611 head-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.skip_lists import builds_quantized, readings_of
from ckptkit.engines.registry import asked_about
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.config.expert_modules import outside_experts


@rule(
    "CK611",
    "head-quantized",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "sgl-project/sglang#34895",
        "sgl-project/sglang#35358",
        "vllm-project/vllm#40999",
        "NVIDIA/TensorRT-LLM#17728",
    ),
)
def head_quantized(context: Context) -> Iterator[Fault]:
    """The output head is stored in FP8.

    Why it hurts: plain fp8 and Quark have no quantized head in vLLM; SGLang drops its scale and repeats itself for
    ever; TensorRT-LLM forces it to BF16. Only a compressed-tensors target that names the head works in vLLM.

    Example: ``lm_head.weight`` F8_E4M3 with ``lm_head.weight_scale``.

    Fix: store the head in BF16 and list it in the skip list.
    """
    for module in outside_experts(context):
        if module.name.endswith(names.LM_HEAD):
            weight = module.weight
            found = Fault(
                "head-quantized",
                "few engines load a quantized output head",
                weight.shard,
                weight.name,
                "BF16",
                weight.dtype,
            )
            readings = readings_of(context)
            build = {name for name, reading in readings.items() if builds_quantized(context, reading)(module.name)}
            yield Observation.of(found, only=frozenset(asked_about().keys() - build))
