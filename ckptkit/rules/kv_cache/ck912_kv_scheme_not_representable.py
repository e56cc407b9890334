"""CK912 kv-scheme-not-representable, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault
from ckptkit.rules.kv_cache.declaration import correct_declaration


@rule("CK912", "kv-scheme-not-representable", Severity.ERROR, reports=("sgl-project/sglang#35455",))
def kv_scheme_not_representable(context: Context) -> Iterator[Fault]:
    """``kv_cache_scheme`` describes a cache that no engine has: other bits, asymmetric, dynamic, another strategy.

    Why it hurts: vLLM stops; SGLang drops the scheme with one line in the log. A dynamic scheme is taken by vLLM, and
    all scales are then 1.0.

    Example: ``{"num_bits": 8, "type": "int", "strategy": "channel"}``.

    Fix: declare 8-bit float, symmetric, static, strategy ``tensor`` or ``attn_head``, or remove the scheme.
    """
    for fault in context.faults("kv-value", "kv-elements"):
        said = fault.what if isinstance(fault, ConfigFault) else ""
        yield Observation.of(fault, variant="elements" if fault.kind == "kv-elements" else said or None)
    yield from context.faults("kv-strategy", "kv-type", "kv-unsaid")
    for fault in context.faults("kv-symmetric"):
        yield Observation.of(fault, variant="symmetric-unsaid" if fault.found == "nothing" else "symmetric-null")
    for fault in context.faults("kv-dynamic"):
        yield Observation.of(fault, variant="dynamic", severity=Severity.WARNING)


fix("unsafe", "CK912")(correct_declaration)
