"""``torch.ops.ckptkit.scaled_mm``: the product as an operator that torch.compile can keep in a graph.

torch.compile traces with tensors that have no data; the fake says what comes out, so that it need not look inside.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ckptkit.kernels.build import import_torch
from ckptkit.kernels.scaled_mm import scaled_mm
from ckptkit.kernels.scaling import Scaling

if TYPE_CHECKING:
    import torch

_LOCK = threading.Lock()
_NAMESPACE = "ckptkit"
_SCHEMA = (
    "scaled_mm(Tensor a, Tensor weight, Tensor a_scale, Tensor weight_scale, str scaling, Tensor? bias=None, "
    "ScalarType? out_dtype=None, str accumulate='fast') -> Tensor"
)
_library: Any = None


def register() -> Any:
    """Register the operator, once however often this is called, and return it."""
    global _library
    torch = import_torch()
    with _LOCK:
        if _library is None:
            library = torch.library.Library(_NAMESPACE, "FRAGMENT")
            library.define(_SCHEMA, tags=(torch.Tag.needs_fixed_stride_order,))
            library.impl("scaled_mm", _run, "CompositeExplicitAutograd")
            torch.library.register_fake(f"{_NAMESPACE}::scaled_mm", _fake, lib=library)
            _library = library
    return torch.ops.ckptkit.scaled_mm


def _run(
    a: torch.Tensor,
    weight: torch.Tensor,
    a_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    scaling: str,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    accumulate: Any = "fast",
) -> torch.Tensor:
    return scaled_mm(
        a,
        weight,
        a_scale,
        weight_scale,
        Scaling.parse(scaling),
        bias=bias,
        out_dtype=out_dtype,
        accumulate=accumulate,
    )


def _fake(
    a: torch.Tensor,
    weight: torch.Tensor,
    a_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    scaling: str,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    accumulate: str = "fast",
) -> torch.Tensor:
    return a.new_empty((a.shape[0], weight.shape[0]), dtype=out_dtype or import_torch().bfloat16)
