"""What transformers has on a GPU alone, in plain torch: the kernels of its own FP8 quantizer.

On a CPU that quantizer dequantizes weights first, which says nothing of what a GPU makes of the same checkpoint. Here
it goes the way of a GPU: every decision about names, shapes, layers and scales stays its own, and the products that
the kernels of ``kernels-community/finegrained-fp8`` compute are taken in float32, of inputs rounded as these do.
"""

from __future__ import annotations

import contextlib
from typing import Any


def install() -> None:
    """Put the stand-ins in place, once per process and before any model is built."""
    with contextlib.suppress(ImportError):
        from transformers.integrations import finegrained_fp8
        from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

        finegrained_fp8._FINEGRAINED_FP8 = finegrained_fp8.FineGrainedFP8(
            matmul=_matmul, batched_matmul=_batched_matmul, grouped_matmul=_grouped_matmul
        )
        FineGrainedFP8HfQuantizer.validate_environment = _on_a_gpu


def _on_a_gpu(self: Any, *arguments: Any, **keywords: Any) -> None:
    """Where there is a GPU that has FP8, nothing stands in the way."""


def _matmul(
    inputs: Any, weight: Any, scale: Any, block_size: Any, dtype: Any, *, activation_scale: Any = None, **more: Any
) -> Any:
    """Inputs [..., K] times a weight [N, K] with a scale for the whole or for each block."""
    return (_rounded(inputs, block_size, activation_scale) @ _dequantized(weight, scale, block_size).T).to(dtype)


def _batched_matmul(
    inputs: Any, weights: Any, scales: Any, block_size: Any = None, expert_ids: Any = None, **more: Any
) -> Any:
    """Each row of inputs [S, K] times the weight of its expert."""
    import torch

    found = torch.zeros(len(inputs), weights.shape[1], dtype=inputs.dtype)
    for expert in range(len(weights)):
        rows = expert_ids == expert
        found[rows] = _matmul(inputs[rows], weights[expert], scales[expert], block_size, inputs.dtype)
    return found


def _grouped_matmul(
    inputs: Any, weights: Any, scales: Any, *, offsets: Any, tokens_per_expert: Any, block_size: Any = None, **more: Any
) -> Any:
    """The same of inputs that are sorted by their experts, which end at ``offsets``."""
    import torch

    found = torch.zeros(len(inputs), weights.shape[1], dtype=inputs.dtype)
    start = 0
    for expert, end in enumerate(offsets.tolist()):
        found[start:end] = _matmul(inputs[start:end], weights[expert], scales[expert], block_size, inputs.dtype)
        start = end
    return found


def _dequantized(weight: Any, scale: Any, block_size: Any) -> Any:
    import torch

    values, scale = weight.float(), scale.float()
    if block_size is None and scale.numel() != 1:
        raise NotImplementedError(f"no stand-in for {list(scale.shape)} scales of a whole weight")
    if scale.numel() == 1:
        return values * scale.reshape(())
    spread = torch.repeat_interleave(torch.repeat_interleave(scale, block_size[0], 0), block_size[1], 1)
    return values * spread[: values.shape[0], : values.shape[1]]


def _rounded(inputs: Any, block_size: Any, activation_scale: Any) -> Any:
    """Inputs as FP8 holds them: by one scale that is given, or by those that their groups of a row need."""
    import torch

    largest = torch.finfo(torch.float8_e4m3fn).max
    values = inputs.float()
    if activation_scale is not None:
        scale = activation_scale.float()
    else:
        size = block_size[1] if block_size is not None and values.shape[-1] % block_size[1] == 0 else values.shape[-1]
        groups = values.unflatten(-1, (-1, size))
        scale = (groups.abs().amax(-1, keepdim=True) / largest).clamp(min=1e-12).expand_as(groups).flatten(-2)
    return (values / scale).clamp(-largest, largest).to(torch.float8_e4m3fn).float() * scale
