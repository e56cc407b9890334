"""CK634 embedding-quantized."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.config.expert_modules import outside_experts


@rule(
    "CK634",
    "embedding-quantized",
    Severity.WARNING,
    conversion=OnConversion.CARRIED,
    reports=(
        "vllm-project/vllm#54304",
        "vllm-project/vllm#41365",
        "vllm-project/vllm#57760",
        "sgl-project/sglang#36137",
    ),
)
def embedding_quantized(context: Context) -> Iterator[Fault]:
    """An embedding, which is a lookup table and no linear layer, is stored in FP8.

    Why it hurts: vLLM builds embeddings without scales and stops at the stored one; transformers takes the codes for
    values, and the model answers with noise.

    Example: ``model.embed_tokens.weight`` F8_E4M3 beside ``model.embed_tokens.weight_scale``, by a recipe that
    quantized every matrix of a file.

    Fix: store the embedding in BF16 and list it in the skip list.
    """
    for module in outside_experts(context):
        if names.is_embedding(module.name):
            weight = module.weight
            message = "no engine is known to load a quantized embedding"
            yield Fault("embedding-quantized", message, weight.shard, weight.name, "BF16", weight.dtype)
