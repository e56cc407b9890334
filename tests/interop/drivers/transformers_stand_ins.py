"""What transformers has on a GPU alone, in plain torch: the kernels of its own FP8 quantizer.

On a CPU that quantizer dequantizes weights first, which says nothing of what a GPU makes of the same checkpoint. Here
it goes the way of a GPU: every decision about names, shapes, layers and scales stays its own, and the products that
the kernels of ``kernels-community/finegrained-fp8`` compute are taken in float32, of inputs rounded as these do. What
these kernels assert of shapes, which way they go and which types of scales they know is as in their version 4
(huggingface/kernels-community, ``matmul.py``, ``grouped.py`` and ``utils.py`` at 1994f2b5, 2026-07-15).
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
    """Inputs [..., K] times a weight [N, K] with a scale for the whole or for each block.

    One scale for the whole takes inputs by scales of their rows, whatever scale of them is given.
    """
    rows, columns = weight.shape
    if _is_small(weight, scale):
        block_size, activation_scale = (1, _SMALL), None
    elif _is_whole(block_size, weight):
        assert scale.numel() == 1, f"Bs must be scalar or (1,), got {tuple(scale.shape)}"
        block_size, activation_scale = None, None
    else:
        wanted = (-(-rows // block_size[0]), -(-columns // block_size[1]))
        assert scale.ndim == 2, f"Bs must be 2D (N//block_n, K//block_k), got ndim={scale.ndim}"
        assert tuple(scale.shape) == wanted, f"Bs shape {tuple(scale.shape)} != expected {wanted}"
    return (_rounded(inputs, block_size, activation_scale) @ _dequantized(weight, scale, block_size).T).to(dtype)


def _batched_matmul(
    inputs: Any, weights: Any, scales: Any, block_size: Any = None, expert_ids: Any = None, **more: Any
) -> Any:
    """Each row of inputs [S, K] times the weight of its expert."""
    import torch

    _check_experts(weights, scales, block_size)
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

    _check_experts(weights, scales, block_size)
    found = torch.zeros(len(inputs), weights.shape[1], dtype=inputs.dtype)
    start = 0
    for expert, end in enumerate(offsets.tolist()):
        found[start:end] = _matmul(inputs[start:end], weights[expert], scales[expert], block_size, inputs.dtype)
        start = end
    return found


def _check_experts(weights: Any, scales: Any, block_size: Any) -> None:
    """What kernels of experts assert: of these no block may be cut off, and one scale is one for each expert."""
    experts, rows, columns = weights.shape
    if _is_small(weights, scales):
        return
    if _is_whole(block_size, weights):
        wanted: tuple[int, ...] = (experts, 1, 1) if scales.ndim > 1 else (experts,)
    else:
        assert rows % block_size[0] == 0, f"N ({rows}) must be divisible by block_n ({block_size[0]})"
        assert columns % block_size[1] == 0, f"K ({columns}) must be divisible by block_k ({block_size[1]})"
        wanted = (experts, rows // block_size[0], columns // block_size[1])
    assert tuple(scales.shape) == wanted, f"Bs shape {tuple(scales.shape)} != expected {wanted}"


#: The size of the groups that scales of a microscaling format have.
_SMALL = 32


def _is_small(weight: Any, scale: Any) -> bool:
    """Whether scales are exponents of groups of 32 inputs: these are told by type and shape, not by the config."""
    import torch

    exponents = scale.dtype in (torch.uint8, torch.float8_e8m0fnu)
    groups = (*weight.shape[:-1], weight.shape[-1] // _SMALL)
    return weight.dtype == torch.float8_e4m3fn and exponents and tuple(scale.shape) == groups


def _is_whole(block_size: Any, weight: Any) -> bool:
    """Whether one scale is that of a whole weight."""
    return block_size is None or tuple(block_size) == tuple(weight.shape[-2:])


def _dequantized(weight: Any, scale: Any, block_size: Any) -> Any:
    import torch

    values = weight.float()
    if block_size is None:
        return values * scale.float().reshape(())
    # Bytes are exponents, but for those of whole weights.
    scale = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()
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
