"""What users of an engine should know of a sound checkpoint before they start it, as rows of its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType

from ckptkit.engines.dialects import is_among
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.registry import asked_about
from ckptkit.engines.releases import Evidence, Range
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Quantization
from ckptkit.record import record


class Trait(Enum):
    """What a checkpoint has that a remark is about."""

    KV_CACHE = "a quantized KV cache"
    OPERANDS = "scales of queries or probabilities"
    FUSED_ATTENTION = "attention scales and fused projections"
    DYNAMIC_TENSOR = "dynamic per-tensor inputs"
    STACKS = "stacks of experts in FP8"


@record
class Remark:
    """One row. ``words`` go on from the engine's name and release.

    ``formats`` are keys of dialects and ``architectures`` beginnings of class names that it is about, empty for any,
    ``trait`` what the checkpoint has. ``versions`` None: known of the release that was examined. ``where`` is the place
    in the engine's source.
    """

    words: str
    formats: tuple[str, ...] = ()
    trait: Trait | None = None
    architectures: tuple[str, ...] = ()
    versions: Range | None = None
    how: Evidence = Evidence.SOURCE
    where: str = ""


def remarks_on(checkpoint: Checkpoint, dialect: str) -> Iterator[str]:
    """What engines' users should know of a checkpoint that is stored in this dialect."""
    architecture = Dimensions.of(checkpoint.config).architecture or ""
    for engine in asked_about().values():
        release = engine.release_for("remarks")
        for row in engine.remarks():
            fits = (not row.formats or is_among(dialect, row.formats)) and architecture.startswith(
                row.architectures or ""
            )
            if fits and (row.trait is None or _HAS[row.trait](checkpoint)):
                yield f"{engine.label} {row.versions or release} {row.words}"


def _has_cache(checkpoint: Checkpoint) -> bool:
    return checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None


def _has_operands(checkpoint: Checkpoint) -> bool:
    attention = checkpoint.kv_cache.attention if checkpoint.kv_cache is not None else ()
    return any(scales.q or scales.prob for scales in attention)


def _has_fused_attention(checkpoint: Checkpoint) -> bool:
    attention = checkpoint.kv_cache.attention if checkpoint.kv_cache is not None else ()
    scaled = any(scales.stored() for scales in attention)
    language = (name for name in checkpoint.linear_modules if names.other_tower(name) is None)
    return scaled and any(names.last_part(name) in names.FUSED_QKV for name in language)


_HAS: Mapping[Trait, Callable[[Checkpoint], bool]] = MappingProxyType(
    {
        Trait.KV_CACHE: _has_cache,
        Trait.OPERANDS: _has_operands,
        Trait.FUSED_ATTENTION: _has_fused_attention,
        Trait.DYNAMIC_TENSOR: lambda checkpoint: (
            Quantization(PerTensor(), dynamic=True) in {scheme.input for scheme in checkpoint.schemes}
        ),
        Trait.STACKS: lambda checkpoint: any(module.experts is not None for module in checkpoint.modules.values()),
    }
)
