"""Granularities: which elements share one scale, and hence the scale's canonical shape.

A granularity is always declared by a config and then checked against the tensors. It is never guessed from a
ratio of shapes: 192 rows with 2 scales may be 96-row blocks or ragged 128-row blocks, and only the config knows.

| granularity | weight [N, K] | canonical scale shape |
|---|---|---|
| PerTensor | all elements | () |
| PerChannel | one output row | (N,) |
| PerBlock(bn, bk) | a tile, ragged at the edges | (ceil(N/bn), ceil(K/bk)) |
| PerGroup(g) | g elements of a row | (N, ceil(K/g)) |
| PerToken | one activation row | computed at run time, none stored |
| PerHead | one attention head of the KV cache | (H,) |

A weight is the last two axes of its tensor. Axes before these (the experts of a stack [E, N, K]) have scales of their
own each: E comes first in the scale's shape too.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from ckptkit.record import record


@record
class PerTensor:
    """One scale for the whole tensor."""

    kind: ClassVar[str] = "per-tensor"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerTensor().scale_shape((64, 256)), PerTensor().scale_shape((8, 64, 256))
        ((), (8,))
        """
        return weight_shape[:-2]

    def __str__(self) -> str:
        return self.kind


@record
class PerChannel:
    """One scale for each output row (axis 0) of a weight."""

    kind: ClassVar[str] = "per-channel"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerChannel().scale_shape((64, 256)), PerChannel().scale_shape((8, 64, 256))
        ((64,), (8, 64))
        """
        return weight_shape[:-1]

    def __str__(self) -> str:
        return self.kind


@record
class PerBlock:
    """One scale for each tile of ``rows`` x ``columns``; tiles at the edges may be smaller."""

    rows: int
    columns: int
    kind: ClassVar[str] = "per-block"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerBlock(128, 128).scale_shape((64, 256)), PerBlock(128, 128).scale_shape((8, 64, 256))
        ((1, 2), (8, 1, 2))
        """
        *stack, rows, columns = weight_shape
        return (*stack, -(-rows // self.rows), -(-columns // self.columns))

    def __str__(self) -> str:
        return f"per-block {self.rows}x{self.columns}"


@record
class PerGroup:
    """One scale for each run of ``size`` elements along the last axis."""

    size: int
    kind: ClassVar[str] = "per-group"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerGroup(128).scale_shape((64, 300)), PerGroup(128).scale_shape((8, 64, 300))
        ((64, 3), (8, 64, 3))
        """
        return (*weight_shape[:-1], -(-weight_shape[-1] // self.size))

    def __str__(self) -> str:
        return f"per-group {self.size}"


@record
class PerToken:
    """One scale for each activation row, computed at run time."""

    kind: ClassVar[str] = "per-token"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerToken().scale_shape((7, 256))
        (7,)
        """
        return (weight_shape[0],)

    def __str__(self) -> str:
        return self.kind


@record
class PerHead:
    """One scale for each KV head of an attention module."""

    kind: ClassVar[str] = "per-head"

    def scale_shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """
        >>> PerHead().scale_shape((8, 128))
        (8,)
        """
        return (weight_shape[0],)

    def __str__(self) -> str:
        return self.kind


Granularity: TypeAlias = PerTensor | PerChannel | PerBlock | PerGroup | PerToken | PerHead
