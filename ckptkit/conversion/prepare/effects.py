"""Choices that would change nothing are refused: nobody is to believe that they were followed."""

from __future__ import annotations

from ckptkit.conversion.grouped import elements_of
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Checkpoint


def require(checkpoint: Checkpoint, request: ConversionRequest) -> None:
    """Raises UsageError for a choice that says nothing about such a conversion."""
    if request.target.weight_dtype is not None:
        given = {
            "scheme": request.scheme is not None,
            "granularity": request.granularity is not None,
            "scale_dtype": request.scale_dtype is not None,
            "drop_kv_scales": request.drop_kv_scales,
            "scales_from": request.scales is not None,
            "mx_to_fp8": request.mx_to_fp8,
        }
        for name, is_given in given.items():
            if is_given:
                flag = f"--{name.replace('_', '-')}"
                message = f"{name} ({flag}) says nothing about plain weights in {request.target.weight_dtype}"
                raise UsageError(message, help="leave it out, or convert in two steps")
        return
    if request.mx_to_fp8 and not any(elements_of(module) for module in checkpoint.opaque.values()):
        raise UsageError(f"{checkpoint.container.label} has no MXFP4 or MXFP8 modules", help="leave mx_to_fp8 out")
    quantized = bool(checkpoint.modules or checkpoint.opaque)
    if request.modules and quantized and request.scheme is None and not request.allow_lossy:
        message = "modules (--modules) says which are dequantized or quantized, and neither is asked for"
        raise UsageError(
            message, help="name a scheme (--scheme) for other scales, or dequantize: ckptkit convert --to bf16"
        )
