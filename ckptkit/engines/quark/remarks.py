"""What users of Quark's own reload should know of sound checkpoints."""

from __future__ import annotations

from ckptkit.engines.releases import Evidence
from ckptkit.engines.remarks import Remark, Trait

_MODE = ("quark-fp8",)

REMARKS: tuple[Remark, ...] = (
    Remark("uses k_scale for keys and values alike when it reloads this mode", _MODE, Trait.KV_CACHE, how=Evidence.RUN),
    Remark("leaves q and prob scales out when it reloads this mode", _MODE, Trait.OPERANDS, how=Evidence.RUN),
)
