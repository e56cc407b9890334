"""Which schemes Quark's own importer takes back, as run on a CPU."""

from __future__ import annotations

from ckptkit.engines.base import Evidence
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer, Support

_KINDS = ("per-tensor", "per-channel", "per-block")

SUPPORT: tuple[Support, ...] = (
    Support(Answer.SUPPORTED, (Layer.LINEAR, Layer.FUSED, Layer.EXPERT), ("quark",), _KINDS, how=Evidence.RUN),
    Support(Answer.SUPPORTED, (Layer.LINEAR, Layer.FUSED), ("quark-fp8",), ("per-tensor",), how=Evidence.RUN),
    Support(Answer.SUPPORTED, (Layer.KV_CACHE,), ("quark", "quark-fp8"), ("per-tensor",), how=Evidence.RUN),
)
