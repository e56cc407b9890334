"""What a user asks of a conversion besides its target."""

from __future__ import annotations

from collections.abc import Iterable

from ckptkit.checks.settings import words
from ckptkit.conversion.placement import shard_bytes
from ckptkit.errors import UsageError
from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record

#: What may become of experts, and of weights that engines fuse.
EXPERTS = ("split", "stack")
FUSED = ("split", "fuse")
#: What the one scale of a weight may be written for, and the types of scales.
GRANULARITIES = ("channel", "block")
SCALE_TYPES = ("F32", "BF16", "F16", "F8_E8M0")
_ALIASES = {"E8M0": "F8_E8M0", "UE8M0": "F8_E8M0"}


@record
class Options(WriteOptions):
    """Choices about a conversion: those that a writer sees, and those that are taken before it writes.

    ``modules`` are glob patterns of the modules that a change of values is for, empty for all of them.

    ``scheme`` names a preset of the target by which plain weights are quantized, and FP8 ones requantized. ``skip`` are
    glob patterns of modules that stay as they are, besides those that every tool leaves alone; without
    ``default_skips`` these are quantized too.

    ``max_shard_size`` is the most bytes of tensors in a shard of the result; None keeps the source's shards.
    With ``mx_to_fp8``, MXFP4 and MXFP8 modules become FP8 for a target too that would carry them as they are.
    ``experts`` says what becomes of experts: "split" for a module each, "stack" for one of a layer; ``fused`` likewise
    of qkv and gate_up: "split" or "fuse". None leaves them as they are.
    ``granularity`` ("channel", "block") writes the one scale of a weight for each of these, ``scale_dtype`` is the type
    of weight scales. ``scales`` is a checkpoint of the same model whose scales of inputs and of the KV cache are taken
    where there are none; with ``drop_kv_scales`` the latter go.
    """

    modules: tuple[str, ...] = ()
    scheme: str | None = None
    skip: tuple[str, ...] = ()
    default_skips: bool = True
    max_shard_size: int | None = None
    mx_to_fp8: bool = False
    experts: str | None = None
    fused: str | None = None
    granularity: str | None = None
    scale_dtype: str | None = None
    drop_kv_scales: bool = False
    scales: Checkpoint | None = None

    @property
    def only_arranges(self) -> bool:
        """Whether something is asked for that a plain checkpoint can have too: other shards, cuts, joints."""
        return self.max_shard_size is not None or self.experts is not None or self.fused is not None

    @classmethod
    def of(
        cls,
        *,
        mode: str | None = None,
        allow_lossy: bool = False,
        modules: str | Iterable[str] | None = None,
        scheme: str | None = None,
        skip: str | Iterable[str] | None = None,
        default_skips: bool = True,
        max_shard_size: int | str | None = None,
        mx_to_fp8: bool = False,
        experts: str | None = None,
        fused: str | None = None,
        granularity: str | None = None,
        scale_dtype: str | None = None,
        drop_kv_scales: bool = False,
        scales: Checkpoint | None = None,
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
        return cls(
            mode=mode,
            allow_lossy=allow_lossy,
            modules=words(modules or ()),
            scheme=scheme,
            skip=words(skip or ()),
            default_skips=default_skips,
            max_shard_size=None if max_shard_size is None else shard_bytes(max_shard_size),
            mx_to_fp8=mx_to_fp8,
            experts=experts,
            fused=fused,
            granularity=granularity,
            scale_dtype=scale_dtype,
            drop_kv_scales=drop_kv_scales,
            scales=scales,
        )
