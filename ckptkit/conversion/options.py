"""What a user asks of a conversion besides its target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ckptkit.checks.settings import words
from ckptkit.conversion.placement import shard_bytes
from ckptkit.errors import UsageError
from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint

#: What may become of experts, and of weights that engines fuse.
EXPERTS = ("split", "stack")
FUSED = ("split", "fuse")
#: What the one scale of a weight may be written for, and the types of scales.
GRANULARITIES = ("channel", "block")
SCALE_TYPES = ("F32", "BF16", "F16", "F8_E8M0")
_ALIASES = {"E8M0": "F8_E8M0", "UE8M0": "F8_E8M0"}


@dataclass(frozen=True)
class Options(WriteOptions):
    """Choices about a conversion: those that a writer sees, and those that are taken before it writes.

    ``modules`` are glob patterns of the modules that a change of values is for, empty for all of them.
    ``max_shard_size`` is the most bytes of tensors in a shard of the result; None keeps the source's shards.
    With ``mx_to_fp8``, MXFP4 and MXFP8 modules become FP8 for a target too that would carry them as they are.
    ``experts`` says what becomes of experts: "split" for a module each, "stack" for one of a layer; ``fused`` likewise
    of qkv and gate_up: "split" or "fuse". None leaves them as they are.
    ``granularity`` ("channel", "block") writes the one scale of a weight for each of these, ``scale_dtype`` is the type
    of weight scales. ``scales`` is a checkpoint of the same model whose scales of the KV cache are taken where
    there are none; with ``drop_kv_scales`` they go.
    """

    modules: tuple[str, ...] = ()
    max_shard_size: int | None = None
    mx_to_fp8: bool = False
    experts: str | None = None
    fused: str | None = None
    granularity: str | None = None
    scale_dtype: str | None = None
    drop_kv_scales: bool = False
    scales: Checkpoint | None = None

    @classmethod
    def of(
        cls,
        *,
        mode: str | None,
        allow_lossy: bool,
        modules: str | Iterable[str] | None,
        max_shard_size: int | str | None,
        mx_to_fp8: bool,
        experts: str | None,
        fused: str | None,
        granularity: str | None,
        scale_dtype: str | None,
        drop_kv_scales: bool,
        scales: Checkpoint | None,
    ) -> Options:
        """The choices as callers give them. Raises UsageError for what makes no sense."""
        scale_dtype = None if scale_dtype is None else _ALIASES.get(scale_dtype.upper(), scale_dtype.upper())
        for option, value, known in (
            ("experts", experts, EXPERTS),
            ("fused", fused, FUSED),
            ("granularity", granularity, GRANULARITIES),
            ("scale_dtype", scale_dtype, SCALE_TYPES),
        ):
            if value not in (None, *known):
                raise UsageError(f"{value!r} is no choice for {option}", help=f"choices: {', '.join(known)}")
        limit = None if max_shard_size is None else shard_bytes(max_shard_size)
        return cls(
            mode,
            allow_lossy,
            words(modules or ()),
            limit,
            mx_to_fp8,
            experts,
            fused,
            granularity,
            scale_dtype,
            drop_kv_scales,
            scales,
        )
