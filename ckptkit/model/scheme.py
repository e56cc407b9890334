"""Schemes: how each role of a module is quantized, in words that no format owns."""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.model.granularity import Granularity


@dataclass(frozen=True)
class Quantization:
    """How one role (weight, input, output, KV cache) is quantized. All schemes here are symmetric."""

    granularity: Granularity
    dynamic: bool = False
    dtype: str = FP8_WEIGHT

    def __str__(self) -> str:
        return f"{'dynamic' if self.dynamic else 'static'} {self.granularity}"


@dataclass(frozen=True)
class Scheme:
    """How a linear module is quantized. ``input`` is None for weight-only quantization."""

    weight: Quantization
    input: Quantization | None
    output: Quantization | None = None

    @property
    def has_static_input(self) -> bool:
        """Whether each module must carry a stored input scale."""
        return self.input is not None and not self.input.dynamic

    def __str__(self) -> str:
        name = "W8A16 FP8" if self.input is None else "W8A8 FP8"
        activations = "activations not quantized" if self.input is None else f"{self.input} activations"
        return f"{name}, {self.weight} weights, {activations}"


@dataclass(frozen=True)
class KVCacheScheme:
    """How the KV cache is quantized. ``basis`` says on which side of RoPE the keys were measured."""

    quantization: Quantization
    basis: str | None = None

    def __str__(self) -> str:
        return f"FP8 KV cache, {self.quantization}"
