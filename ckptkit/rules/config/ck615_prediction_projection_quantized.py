"""CK615 prediction-projection-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.config.expert_modules import outside_experts

_PLAIN_LINEAR = frozenset({"eh_proj", "indexer", "weights_proj"})


@rule(
    "CK615",
    "prediction-projection-quantized",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=("vllm-project/vllm#48506",),
)
def prediction_projection_quantized(context: Context) -> Iterator[Fault]:
    """The input projection of a prediction layer, or an indexer's projection, is stored in FP8.

    Why it hurts: vLLM's model files build these as plain linear layers and load the raw codes as values. Nothing
    stops; drafted tokens are never accepted.

    Example: ``model.layers.61.eh_proj.weight`` F8_E4M3.

    Fix: store it in BF16 and list it in the skip list.
    """
    for module in outside_experts(context):
        last = names.last_part(module.name)
        if last in _PLAIN_LINEAR or (last == "fc" and module.name.startswith("mtp")):
            message = "engines build this projection unquantized and take the codes for values"
            weight = module.weight
            yield Fault("projection-quantized", message, weight.shard, weight.name, "BF16", weight.dtype)
