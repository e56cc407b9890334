"""Plain torch stand-ins for the FP8 kernels that vLLM's CPU build lacks.

Without them a checkpoint with static activations fails while loading (fused per-tensor layers are requantized to
their largest scale by ``static_scaled_fp8_quant``, a CUDA kernel), a block-quantized one needs AMX, and a
weight-only one finds no kernel at all. The stand-ins replace arithmetic only: every decision about names, shapes,
schemes and scales stays vLLM's own. Where the machine has vLLM's own kernel, that one is used.
"""

from __future__ import annotations

from typing import Any

NAMES = ("static_scaled_fp8_quant", "silu_and_mul_quant", "block_scaled_mm", "w8a16_mm")


def install() -> None:
    """Put the stand-ins in place, once per process and before any model is built."""
    _static_quantization()
    _unfused_activation()
    _block_matmul()
    _weight_only_matmul()


def _static_quantization() -> None:
    """``scaled_fp8_quant`` with a given per-tensor scale."""
    import torch
    from vllm import _custom_ops as ops

    original = ops.scaled_fp8_quant
    largest = torch.finfo(torch.float8_e4m3fn).max

    def scaled_fp8_quant(input: Any, scale: Any = None, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        if scale is None or scale.numel() != 1:
            quantized: tuple[Any, Any] = original(input, scale, *arguments, **keywords)
            return quantized
        scaled = (input.float() / scale.float()).clamp(-largest, largest)
        return scaled.to(torch.float8_e4m3fn), scale

    ops.scaled_fp8_quant = scaled_fp8_quant


def _unfused_activation() -> None:
    """Without a fused SiLU-and-quantize kernel in this table, vLLM quantizes in the next linear."""
    from vllm.model_executor.layers.fusion import fused_act_quant

    fused_act_quant._FUSED_ACT_QUANT.clear()


def _block_matmul() -> None:
    """A last choice in the list of block kernels: dequantize both sides, multiply in float32."""
    import torch
    from vllm.model_executor.kernels import linear
    from vllm.model_executor.kernels.linear.scaled_mm.BlockScaledMMLinearKernel import Fp8BlockScaledMMLinearKernel
    from vllm.platforms import PlatformEnum

    class TorchBlockMM(Fp8BlockScaledMMLinearKernel):  # type: ignore[misc]
        @classmethod
        def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
            return True, None

        def apply_block_scaled_mm(self, A: Any, B: Any, As: Any, Bs: Any) -> Any:  # noqa: N803
            rows, columns = self.weight_group_shape
            group = self.config.activation_quant_key.scale.group_shape.col
            a_scales = As.float().repeat_interleave(group, -1)[:, : A.shape[1]]
            b_scales = Bs.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1)
            return torch.matmul(A.float() * a_scales, (B.float() * b_scales[: B.shape[0], : B.shape[1]]).t())

    linear._POSSIBLE_FP8_BLOCK_KERNELS[PlatformEnum.CPU].append(TorchBlockMM)


def _weight_only_matmul() -> None:
    """The only W8A16 kernel of the CPU platform: dequantize ``[K, N]`` weights by channel, multiply in float32."""
    import torch
    from vllm.model_executor.kernels import linear
    from vllm.model_executor.kernels.linear.scaled_mm.ScaledMMLinearKernel import FP8ScaledMMLinearKernel
    from vllm.platforms import PlatformEnum

    class TorchWeightOnlyMM(FP8ScaledMMLinearKernel):  # type: ignore[misc]
        @classmethod
        def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
            return True, None

        @classmethod
        def can_implement(cls, c: Any) -> tuple[bool, str | None]:
            shape = c.weight_quant_key.scale.group_shape
            return shape.is_per_tensor() or shape.is_per_channel(), "per tensor and per channel only"

        def apply_weights(self, layer: Any, x: Any, bias: Any = None) -> Any:
            weight, scale, *_ = self._get_layer_params(layer)
            output = torch.matmul(x.float(), weight.float() * scale.float().reshape(1, -1))
            return (output if bias is None else output + bias).to(x.dtype)

        def apply_scaled_mm(self, **_: Any) -> Any:
            raise NotImplementedError("activations are not quantized")

    linear._POSSIBLE_WFP8A16_KERNELS[PlatformEnum.CPU].append(TorchWeightOnlyMM)
