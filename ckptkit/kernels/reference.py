"""The oracle: the same quantized inputs, dequantized and multiplied without any kernel.

The oracle scales the operands and then multiplies; the kernels multiply and then scale. So a scale applied to the
wrong axis, or at the wrong step of K, cannot hide in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.kernels.build import import_torch
from ckptkit.kernels.scaling import Scaling

if TYPE_CHECKING:
    import torch


def dequantize_activations(
    codes: torch.Tensor, scale: torch.Tensor, scaling: Scaling, precision: torch.dtype
) -> torch.Tensor:
    """A [M, K] times its scale."""
    wide, factor = codes.to(precision), scale.to(precision)
    if scaling.a == "row":
        return wide * factor[:, None]
    if scaling.a == "group":
        return wide * factor.repeat_interleave(scaling.a_group, dim=1)[:, : codes.shape[1]]
    return wide * factor


def dequantize_weight(
    codes: torch.Tensor, scale: torch.Tensor, scaling: Scaling, precision: torch.dtype
) -> torch.Tensor:
    """W [N, K] times its scale."""
    wide, factor = codes.to(precision), scale.to(precision)
    if scaling.b == "row":
        return wide * factor[:, None]
    if scaling.b == "group":
        rows, columns = scaling.b_block
        tiled = factor.repeat_interleave(rows, dim=0).repeat_interleave(columns, dim=1)
        return wide * tiled[: codes.shape[0], : codes.shape[1]]
    return wide * factor


def scaled_mm(
    a: torch.Tensor,
    weight: torch.Tensor,
    a_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    scaling: Scaling,
    *,
    bias: torch.Tensor | None = None,
    precision: torch.dtype | None = None,
) -> torch.Tensor:
    """``(A * a_scale) @ (W * weight_scale).T + bias``, in float64 unless another precision is given.

    The float64 result is exact wherever the float32 one could be; otherwise its error is 2**29 times smaller.
    """
    precision = precision or import_torch().float64
    left = dequantize_activations(a, a_scale, scaling, precision)
    right = dequantize_weight(weight, weight_scale, scaling, precision)
    out = left @ right.T
    return out if bias is None else out + bias.to(precision)


def magnitude(
    a: torch.Tensor, weight: torch.Tensor, a_scale: torch.Tensor, weight_scale: torch.Tensor, scaling: Scaling
) -> torch.Tensor:
    """``sum_k |a||w|`` with scales, float64: what the rounding errors of any order of summation are bounded by."""
    precision = import_torch().float64
    left = dequantize_activations(a, a_scale, scaling, precision).abs()
    right = dequantize_weight(weight, weight_scale, scaling, precision).abs()
    return left @ right.T
