"""CK912 kv-scheme-not-representable, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.declaration import correct_declaration

_STRATEGIES = ("tensor", "attn_head")


@rule("CK912", "kv-scheme-not-representable", Severity.ERROR, reports=("sgl-project/sglang#35455",))
def kv_scheme_not_representable(context: Context) -> Iterator[Fault]:
    """``kv_cache_scheme`` describes a cache that no engine has: other bits, asymmetric, dynamic, another strategy.

    Why it hurts: vLLM stops; SGLang drops the scheme with one line in the log. A dynamic scheme is taken by vLLM, and
    all scales are then 1.0.

    Example: ``{"num_bits": 8, "type": "int", "strategy": "channel"}``.

    Fix: declare 8-bit float, symmetric, static, strategy ``tensor`` or ``attn_head``, or remove the scheme.
    """
    for fault in context.faults("config-value"):
        if fault.message.startswith("kv_cache_scheme"):
            yield fault
    scheme = context.block.get("kv_cache_scheme")
    if context.method != "compressed-tensors" or context.checkpoint is None or not isinstance(scheme, Mapping):
        return
    strategy = scheme.get("strategy")
    if strategy not in _STRATEGIES:
        message = "vLLM takes two strategies and no default"
        found = "nothing" if strategy is None else repr(strategy)
        yield Fault("kv-strategy", message, "config.json", None, "kv_cache_scheme.strategy tensor or attn_head", found)
    if scheme.get("symmetric") is None:
        message = "vLLM reads the key itself and takes its absence for asymmetric"
        yield Fault("kv-symmetric", message, "config.json", None, "kv_cache_scheme.symmetric = true", "nothing")
    if scheme.get("dynamic") is True:
        silent = Effect("vllm", ENGINES["vllm"].version, Outcome.SILENT, "all scales are 1.0")
        yield Observation(
            "kv-dynamic",
            "no engine computes KV scales while running",
            "config.json",
            expected="kv_cache_scheme.dynamic = false",
            found=repr(scheme["dynamic"]),
            engines=(silent,),
            severity=Severity.WARNING,
        )


fix("unsafe", "CK912")(correct_declaration)
