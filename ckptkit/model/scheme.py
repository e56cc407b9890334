"""Schemes: how each role of a module is quantized, in words that no format owns.

A role's elements have one dtype and scales in one level or more: the first level multiplies the elements, each further
one the scales before it (NVFP4: E4M3 scales of groups, and one F32 scale of these). FP8 storage has one level.
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.model.granularity import Granularity, PerGroup
from ckptkit.record import record


@record
class ScaleLevel:
    """One level of scales. ``dtype`` None: any float that is wide enough (F32, BF16, F16), as it is stored.

    With ``divides`` values are divided by it, which is not what scales are for: compressed-tensors stores the one scale
    of NVFP4's scales so.
    """

    granularity: Granularity
    dtype: str | None = None
    divides: bool = False

    def __str__(self) -> str:
        return f"{self.granularity}{f' {self.dtype}' if self.dtype else ''}"


@record
class ScaleSpec:
    """The levels of scales of one role, the one that multiplies the elements first."""

    levels: tuple[ScaleLevel, ...]

    def shapes(self, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The canonical shape of each level's scale for a weight [..., N, K].

        >>> from ckptkit.model.granularity import PerGroup, PerTensor
        >>> ScaleSpec((ScaleLevel(PerGroup(16), "F8_E4M3"), ScaleLevel(PerTensor(), "F32"))).shapes((512, 256))
        ((512, 16), ())
        """
        return tuple(level.granularity.scale_shape(weight_shape) for level in self.levels)


@record
class Quantization:
    """How one role (weight, input, output, KV cache) is quantized.

    ``dtype`` is that of the elements: a safetensors code, or one of ``F4``, ``I4`` and the like for elements that are
    packed. ``scale_dtype`` is set where the scheme fixes it (E8M0 groups), ``second`` is the second level of
    scales. Schemes are symmetric unless a zero point is stored. ``upper_bound`` is the largest magnitude that a dynamic
    input keeps: what is beyond is clamped to it.
    """

    granularity: Granularity
    dynamic: bool = False
    dtype: str = FP8_WEIGHT
    scale_dtype: str | None = None
    second: ScaleLevel | None = None
    symmetric: bool = True
    upper_bound: float | None = None

    @property
    def scale(self) -> ScaleSpec:
        """The scales, level by level."""
        first = ScaleLevel(self.granularity, self.scale_dtype)
        return ScaleSpec((first,) if self.second is None else (first, self.second))

    def __str__(self) -> str:
        bound = "" if self.upper_bound is None else f" up to {self.upper_bound:g}"
        return f"{'dynamic' if self.dynamic else 'static'} {self.granularity}{bound}"


@record
class InputKind:
    """How inputs are quantized, sizes aside; without a granularity they are not."""

    granularity: type[Granularity] | None = None
    dynamic: bool = False

    @classmethod
    def of(cls, quantization: Quantization | None) -> InputKind:
        """
        >>> from ckptkit.model.granularity import PerGroup
        >>> str(InputKind.of(Quantization(PerGroup(128), dynamic=True))), str(InputKind.of(None))
        ('dynamic per-group', 'none')
        """
        return NO_INPUT if quantization is None else cls(type(quantization.granularity), quantization.dynamic)

    def __str__(self) -> str:
        if self.granularity is None:
            return "none"
        return f"{'dynamic' if self.dynamic else 'static'} {self.granularity.kind}"


#: Inputs in high precision.
NO_INPUT = InputKind()


@record
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


@record
class OtherScheme:
    """A quantization that is not FP8 with one scale: what is known of it.

    ``name`` is the short name that people use ("NVFP4", "W4A16"), ``storage`` the word for the layout that two formats
    would have to share for the bytes to be carried from one to the other. ``bits`` are those of a stored weight
    element; ``weight`` and ``input`` are None as far as they are not known. ``entry`` is what the config says of it, as
    JSON text and without the modules that it is for, and ``targets`` are these in the config's words: a writer of the
    same format repeats them.
    """

    name: str
    storage: str
    bits: int | None = None
    weight: Quantization | None = None
    input: Quantization | None = None
    entry: str | None = None
    targets: tuple[str, ...] = field(default=(), compare=False)

    @property
    def group_size(self) -> int | None:
        """How many weights of a row share a scale; None where they are not scaled so, or that is not known."""
        granularity = None if self.weight is None else self.weight.granularity
        return granularity.size if isinstance(granularity, PerGroup) else None

    def __str__(self) -> str:
        bits = "" if self.bits is None else f", {self.bits}-bit weights"
        scales = "" if self.weight is None else f" scaled {' and '.join(str(n) for n in self.weight.scale.levels)}"
        return f"{self.name}{bits}{scales}"


@record
class KVCacheScheme:
    """How the KV cache is quantized. ``basis`` says on which side of RoPE the keys were measured."""

    quantization: Quantization
    basis: str | None = None

    def __str__(self) -> str:
        return f"FP8 KV cache, {self.quantization}"


#: What a config declares a module as.
Declared: TypeAlias = Scheme | OtherScheme
