"""CK612 tower-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.rules.config.expert_modules import outside_experts
from ckptkit.storage.payload import TensorRef


@rule(
    "CK612",
    "tower-quantized",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/llm-compressor#1306",
        "vllm-project/llm-compressor#1766",
        "vllm-project/vllm-omni#2702",
        "vllm-project/vllm#19424",
    ),
)
def tower_quantized(context: Context) -> Iterator[Fault]:
    """Modules of a vision or audio tower, or of its projector, are stored in FP8.

    Why it hurts: many engines build towers unquantized whatever the config says: they stop at a tower's scale, or run
    it without one and the model ignores the image.

    Example: ``vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight`` F8_E4M3.

    Fix: store the tower in BF16 and list it under the names that the engine uses.
    """
    towers: dict[str, list[TensorRef]] = {}
    for module in outside_experts(context):
        tower = names.other_tower(module.name)
        if tower is not None:
            towers.setdefault(tower, []).append(module.weight)
    for tower, weights in towers.items():
        message = f"{plural(len(weights), 'module')} of {tower} quantized"
        yield Fault("tower-quantized", message, weights[0].shard, weights[0].name, "BF16", weights[0].dtype)
