"""CK901 kv-scales-missing, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import any_stored, declared_attention
from ckptkit.rules.kv_cache.declaration import correct_declaration


@rule(
    "CK901",
    "kv-scales-missing",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#25968",
        "ROCm/vllm#317",
        "sgl-project/sgl-cookbook#237",
    ),
)
def kv_scales_missing(context: Context) -> Iterator[Fault]:
    """A static KV-cache scheme is declared, but no attention module has k or v scales.

    Why it hurts: engines use 1.0: vLLM's compressed-tensors path without a word, the others with one warning. A cache
    at scale 1.0 clips nothing and rounds everything small.

    Example: ``kv_cache_scheme`` in the config, and not one ``k_scale`` in the headers.

    Fix: calibrate and export again, or remove the declaration.
    """
    if any_stored(context):
        return
    for scheme_is_static, attention in declared_attention(context):
        if scheme_is_static:
            yield Observation(
                "kv-scales-missing",
                "an FP8 KV cache is declared, but no k and v scales are stored",
                context.section.file,
                attention.module,
                expected="k and v scales",
                found="nothing",
                help="calibrate and export again, or remove the KV-cache scheme",
            )


fix("unsafe", "CK901")(correct_declaration)
