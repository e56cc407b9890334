"""What a person wants to know about a checkpoint first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ckptkit.dtypes import BITS
from ckptkit.errors import plural
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.inventory import Inventory, Kind, PartOfFolder, Tally, tally
from ckptkit.model.values import scale_values
from ckptkit.record import record
from ckptkit.storage.payload import TensorRef

#: Bytes of one element of the high-precision checkpoint that this one was made from.
_ORIGINAL_BYTES = 2
#: Kinds of ignored modules that the line in words names.
_SHOWN = 8


@record
class ScaleRange:
    """The smallest and the largest value over all scales of one kind, and how many tensors hold them."""

    kind: str
    tensors: int
    minimum: float
    maximum: float


@record
class ModuleKind:
    """The modules that differ only in their layer numbers."""

    name: str
    count: int
    shape: tuple[int, ...]
    scheme: str


@record(kw_only=True, repr=False)
class Summary(Inventory):
    """The inventory of a checkpoint that was read, and what is known of it by that.

    ``original_bytes`` is what the same tensors take with two bytes for each FP8 weight element and no scales.
    """

    format: str
    dialect: str
    scheme: str
    original_bytes: int
    ignored: tuple[str, ...]
    modules: tuple[ModuleKind, ...]
    scales: tuple[ScaleRange, ...]

    @property
    def ratio(self) -> float:
        """Stored size over original size."""
        return self.data_bytes / self.original_bytes if self.original_bytes else 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/summary.json``."""
        return {
            **super().to_json(),
            "format": self.format,
            "dialect": self.dialect,
            "scheme": self.scheme,
            "original_bytes": self.original_bytes,
            "ratio": round(self.ratio, 4),
            "ignored": list(self.ignored),
            "modules": [
                {"name": m.name, "count": m.count, "shape": list(m.shape), "scheme": m.scheme} for m in self.modules
            ],
            "scales": [{"kind": s.kind, "tensors": s.tensors, "min": s.minimum, "max": s.maximum} for s in self.scales],
        }


def summarise(
    checkpoint: Checkpoint,
    *,
    scales: bool = True,
    what: str = "model",
    parts: tuple[PartOfFolder, ...] = (),
    notes: tuple[str, ...] = (),
) -> Summary:
    """Make the summary; scale tensors are the only bytes that are read, and without ``scales`` not even these.

    ``what``, ``parts`` and ``notes`` are those of the inventory, which the checkpoint itself does not know.
    """
    container = checkpoint.container
    attention_bytes = sum(tensor.nbytes for tensor in checkpoint.attention_tensors())
    scale_bytes = attention_bytes + sum(
        len(kind.modules) * sum(scale.nbytes for scale in kind.first.scales) for kind in checkpoint.alike
    )
    weight_bytes = sum(len(kind.modules) * kind.first.weight.nbytes for kind in checkpoint.alike)
    opaque_bytes, unpacked = _opaque_sizes(checkpoint)
    counted = _count(checkpoint)
    scheme = in_words(checkpoint)
    return Summary(
        label=container.label,
        what=what,
        quantization=scheme,
        format=checkpoint.format,
        dialect=checkpoint.dialect,
        scheme=scheme,
        architecture=first_text(checkpoint.config.get("architectures")),
        shards=len(container.headers),
        tally=counted,
        original_bytes=counted.nbytes
        - (scale_bytes + weight_bytes + opaque_bytes)
        + (weight_bytes + unpacked) * _ORIGINAL_BYTES,
        ignored=ignored(checkpoint),
        modules=_module_kinds(checkpoint),
        scales=_scale_ranges(checkpoint) if scales else (),
        parts=parts,
        notes=notes,
        traffic=container.source.traffic,
    )


def _count(checkpoint: Checkpoint) -> Tally:
    """Every tensor by kind and type: those of modules that are alike once, times how many there are."""
    known = _known_tensors(checkpoint)
    others = (
        *checkpoint.plain,
        *checkpoint.stored_only,
        *checkpoint.orphans,
        *checkpoint.foreign,
        *checkpoint.attention_tensors(),
        *checkpoint.opaque_tensors(),
    )
    total = tally(others, known=known)
    for kind in checkpoint.alike:
        total += tally((kind.first.weight, *kind.first.scales), known=known).times(len(kind.modules))
    return total


def _known_tensors(checkpoint: Checkpoint) -> dict[str, tuple[Kind, int | None]]:
    """What the checkpoint knows of tensors and their names do not tell: scales, stacks, and what is packed.

    Of modules that are alike it holds the first.
    """
    firsts = [kind.first for kind in checkpoint.alike]
    scales = [scale for module in firsts for scale in module.scales]
    scales += (*checkpoint.attention_tensors(), *checkpoint.orphans, *checkpoint.foreign)
    known: dict[str, tuple[Kind, int | None]] = dict.fromkeys((scale.name for scale in scales), (Kind.SCALE, None))
    stacks = [module.weight for module in firsts if module.experts is not None]
    known.update((weight.name, (Kind.EXPERT, BITS[weight.dtype])) for weight in stacks)
    for module in checkpoint.opaque.values():
        kind = Kind.EXPERT if names.experts_owner(f"{module.name}.") else Kind.LINEAR
        for tensor in module.parts.values():
            known[tensor.name] = (kind, module.scheme.bits) if tensor is module.weight else (Kind.SCALE, None)
    return known


def first_text(value: Any) -> str | None:
    """The first of a config's list of strings, if it is one."""
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) else None


def _opaque_sizes(checkpoint: Checkpoint) -> tuple[int, int]:
    """Stored bytes of the modules whose elements can be counted although they are not FP8, and their elements."""
    counted = [(module.nbytes, module.elements) for module in checkpoint.opaque.values()]
    known = [(nbytes, elements) for nbytes, elements in counted if elements is not None]
    return sum(nbytes for nbytes, _ in known), sum(elements for _, elements in known)


def in_words(checkpoint: Checkpoint) -> str:
    """One line: the scheme or schemes, the KV cache, what is left alone."""
    schemes = checkpoint.schemes
    others = checkpoint.other_schemes
    if len(schemes) == 1 and not others:
        parts = [str(next(iter(schemes)))]
    else:
        every: list[tuple[object, tuple[str, ...]]] = [*schemes.items(), *others.items()]
        parts = [f"{plural(len(members), 'module')} {scheme}" for scheme, members in every]
    if not schemes and not others:
        parts = ["no module is declared quantized"]
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    parts.append(str(kv_scheme) if kv_scheme else "KV cache not quantized")
    unlisted = _kinds(checkpoint.declared_only)
    left_alone = [kind for kind in _kinds(ignored(checkpoint)) if kind not in unlisted]
    parts.append(f"ignored: {_some(left_alone)}" if left_alone else "nothing ignored")
    if unlisted:
        parts.append(f"in high precision, on no list: {_some(unlisted)}")
    return ("; " if len(schemes) + len(others) > 1 else ", ").join(parts)


def _kinds(modules: Iterable[str]) -> list[str]:
    """Kinds of modules, by names in which layers' numbers are generalised, those of a tower as one."""
    return list(dict.fromkeys(_tower_or_self(names.generalise(name)) for name in modules))


def _some(kinds: list[str]) -> str:
    """Kinds of modules in a line, as many as fit."""
    if len(kinds) > _SHOWN:
        kinds = [*kinds[: _SHOWN - 1], f"{len(kinds) - _SHOWN + 1} more kinds of modules"]
    return ", ".join(kinds)


def _tower_or_self(name: str) -> str:
    """``model.vision_tower.*`` for all that is left alone in a tower; any other name as it is."""
    tower = names.other_tower(name)
    return name if tower is None else f"{name[: name.index(tower) + len(tower)]}.*"


def ignored(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Linear modules left in high precision, layer numbers generalised; a tied head counts as one."""
    found = dict.fromkeys(names.generalise(name) for name in sorted(checkpoint.unquantized, key=names.natural))
    if checkpoint.tied_head:
        found["lm_head (tied)"] = None
    found.update(dict.fromkeys(names.generalise(name) for name in checkpoint.fused_experts))
    return tuple(found)


def _module_kinds(checkpoint: Checkpoint) -> tuple[ModuleKind, ...]:
    counted: dict[tuple[str, tuple[int, ...], str], int] = {}
    for kind in checkpoint.alike:
        key = (kind.name, kind.first.weight.shape, str(kind.first.scheme))
        counted[key] = counted.get(key, 0) + len(kind.modules)
    for other in checkpoint.opaque.values():
        shape = other.weight.shape if other.weight is not None else ()
        key = (names.generalise(other.name), shape, str(other.scheme))
        counted[key] = counted.get(key, 0) + 1
    for name, weight in checkpoint.unquantized.items():
        key = (names.generalise(name), weight.shape, f"{weight.dtype}, not quantized")
        counted[key] = counted.get(key, 0) + 1
    ordered = sorted(counted.items(), key=lambda item: names.natural(item[0][0]))
    return tuple(ModuleKind(name, count, shape, scheme) for (name, shape, scheme), count in ordered)


def _scale_ranges(checkpoint: Checkpoint) -> tuple[ScaleRange, ...]:
    kinds = _scales_by_kind(checkpoint)
    alone = next(iter(kinds)) if len(kinds) == 1 else None
    kind_of = {} if alone else {scale.name: kind for kind, members in kinds.items() for scale in members}
    ranges: dict[str, ScaleRange] = {}
    container = checkpoint.container
    for run, data in container.read_runs(container.runs(checkpoint.scale_tensors())):
        # Values are judged in bulk: there may be a hundred thousand scales, most of them of a few bytes.
        first = run.span.start
        dtypes = {scale.dtype for scale in run.tensors}
        if alone and len(dtypes) == 1 and run.gapless:
            _extend(ranges, (alone, dtypes.pop()), data, len(run.tensors))
            continue
        mixed: dict[tuple[str, str], list[bytes]] = {}
        for scale in run.tensors:
            key = (alone or kind_of[scale.name], scale.dtype)
            mixed.setdefault(key, []).append(data[scale.start - first : scale.stop - first])
        for key, parts in mixed.items():
            _extend(ranges, key, b"".join(parts), len(parts))
    return tuple(ranges.values())


def _scales_by_kind(checkpoint: Checkpoint) -> dict[str, list[TensorRef]]:
    """All scales: of weights, of inputs, and of attention by role; only kinds that exist."""
    modules = checkpoint.modules.values()
    kinds = {
        "weight": [module.weight_scale for module in modules if module.weight_scale is not None],
        "input": [module.input_scale for module in modules if module.input_scale is not None],
    }
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        for role, tensor in attention.stored().items():
            kinds.setdefault(role, []).append(tensor)
    return {kind: scales for kind, scales in kinds.items() if scales}


def _extend(ranges: dict[str, ScaleRange], key: tuple[str, str], data: bytes, tensors: int) -> None:
    """Widen the range of a kind by the values of more tensors; what is no scale's dtype is left out."""
    kind, dtype = key
    values = scale_values(dtype, data)
    if values is not None:
        known = ranges.get(kind, ScaleRange(kind, 0, values.minimum, values.maximum))
        # NaN stands for no value at all, and must not hide the others.
        low = [value for value in (known.minimum, values.minimum) if not math.isnan(value)]
        high = [value for value in (known.maximum, values.maximum) if not math.isnan(value)]
        ranges[kind] = ScaleRange(
            kind, known.tensors + tensors, min(low, default=math.nan), max(high, default=math.nan)
        )
