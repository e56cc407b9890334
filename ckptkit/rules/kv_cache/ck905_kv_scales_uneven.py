"""CK905 kv-scales-uneven."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.prediction import is_mtp
from ckptkit.errors import Fault
from ckptkit.rules.kv_cache.attention import any_stored, declared_attention


@rule("CK905", "kv-scales-uneven", Severity.ERROR, reports=("vllm-project/vllm#54624",))
def kv_scales_uneven(context: Context) -> Iterator[Fault]:
    """Some attention modules have KV scales and others have none.

    Why it hurts: those without run at 1.0 while their neighbours are scaled. Only modules with keys of their own
    count; linear attention has none.

    Example: layers 0 to 30 have ``k_scale`` and ``v_scale``, layer 31 does not.

    Fix: export again so that every attention module is calibrated.
    """
    if not any_stored(context):
        return
    for scheme_is_static, attention in declared_attention(context):
        if scheme_is_static and attention.k is None and attention.v is None:
            message = "this attention module has no KV scales, others have"
            yield Observation(
                "kv-scales-uneven",
                message,
                None,
                attention.module,
                "k and v scales",
                "nothing",
                # Exporters do not calibrate prediction layers: no engine needs them to serve the model.
                severity=Severity.WARNING if is_mtp(context.dimensions, attention.module) else None,
            )
