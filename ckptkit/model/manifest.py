"""A checkpoint in canonical words, as a JSON document: the same for exports of one model in different formats."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Checkpoint
    from ckptkit.model.granularity import Granularity
    from ckptkit.model.scheme import Quantization
    from ckptkit.storage.payload import TensorRef


def manifest(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint in canonical words, as described by ``schemas/manifest.json``.

    Two exports of the same model in different formats differ here only in names of scales, shapes and places.
    """
    schemes = list(checkpoint.schemes)
    positions = {scheme: position for position, scheme in enumerate(schemes)}
    return {
        "path": checkpoint.container.label,
        "format": checkpoint.format,
        "dialect": checkpoint.dialect,
        "schemes": [
            {
                "weight": _quantization(scheme.weight),
                "input": _quantization(scheme.input),
                "output": _quantization(scheme.output),
            }
            for scheme in schemes
        ],
        "modules": [
            {
                "name": module.name,
                "scheme": positions[module.scheme],
                "weight": _tensor(module.weight),
                "weight_scale": _tensor(module.weight_scale),
                "input_scale": _tensor(module.input_scale),
            }
            for module in checkpoint.modules.values()
        ],
        "other_modules": [
            {
                "name": module.name,
                "scheme": module.scheme.name,
                "storage": module.scheme.storage,
                "parts": {part.value: _tensor(tensor) for part, tensor in module.parts.items()},
            }
            for module in checkpoint.opaque.values()
        ],
        "kv_cache": _kv_cache(checkpoint),
        "unquantized": list(checkpoint.unquantized),
        "declared_only": list(checkpoint.declared_only),
        "stored_only": [_tensor(tensor) for tensor in checkpoint.stored_only],
        "fused_experts": list(checkpoint.fused_experts),
        "orphans": [_tensor(tensor) for tensor in checkpoint.orphans],
        "foreign": [_tensor(tensor) for tensor in checkpoint.foreign],
        "plain": [_tensor(tensor) for tensor in checkpoint.plain],
    }


def _kv_cache(checkpoint: Checkpoint) -> dict[str, Any] | None:
    cache = checkpoint.kv_cache
    if cache is None:
        return None
    return {
        "scheme": _quantization(cache.scheme.quantization) if cache.scheme else None,
        "basis": cache.scheme.basis if cache.scheme else None,
        "attention": [
            {"module": item.module, **{role: _tensor(tensor) for role, tensor in item.stored().items()}}
            for item in cache.attention
        ],
    }


def _quantization(quantization: Quantization | None) -> dict[str, Any] | None:
    if quantization is None:
        return None
    granularity: Granularity = quantization.granularity
    return {
        "granularity": {"kind": granularity.kind, **asdict(granularity)},
        "dynamic": quantization.dynamic,
        "dtype": quantization.dtype,
    }


def _tensor(tensor: TensorRef | None) -> dict[str, Any] | None:
    return None if tensor is None else {**tensor._asdict(), "shape": list(tensor.shape)}
