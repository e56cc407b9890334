"""What an engine has: which scheme in which kind of layer, for which formats and architectures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from ckptkit.engines.cache_places import Place, place_of
from ckptkit.engines.dialects import is_among
from ckptkit.engines.dimensions import text_level
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.releases import Evidence, Range
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor
from ckptkit.model.scheme import InputKind, OtherScheme, Quantization
from ckptkit.record import record


class Answer(str, Enum):
    """What an engine does with a scheme in a kind of layer, the worst first."""

    REFUSED = "refused"
    SILENT = "silently wrong"
    UNKNOWN = "unknown"
    SLOW = "slow"
    SUPPORTED = "supported"


@record
class Support:
    """One row: what an engine does with schemes in kinds of layers. The first row that fits counts.

    ``formats`` holds keys of dialects. ``weights`` holds kinds of granularity ("per-channel"), of the KV cache's
    scales in its row; ``inputs`` likewise with their time ("dynamic per-token") or "none"; ``blocks`` sizes of blocks,
    ``groups`` those of groups of inputs; ``architectures`` beginnings of class names. Empty means any. ``others`` names
    quantizations other than FP8, which no row without it speaks of; of these ``groups`` are those of weights. One that
    is of what is ``stored`` leaves a KV cache alone whose scales the config promises only, and one with ``places``
    speaks of scales that are stored there; one for a ``cut`` speaks of quantizations other than FP8 whose groups end
    beyond the inputs of a layer. ``recast`` asks for scales of a cache that have another type than the model, ``split``
    for weights of more than one block, ``ragged`` for weights that are no whole number of blocks. ``words`` are the
    engine's own where it refuses; ``where`` is the place in its source.
    """

    answer: Answer
    layers: tuple[Layer, ...]
    formats: tuple[str, ...]
    weights: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()
    architectures: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    stored: bool = False
    places: tuple[Place, ...] = ()
    cut: bool = False
    recast: bool = False
    split: bool = False
    ragged: bool = False
    words: str = ""
    versions: Range | None = None
    how: Evidence = Evidence.SOURCE
    where: str = ""

    def fits(self, part: Part, dialect: str, architecture: str) -> bool:
        """Whether the row speaks of a part of a checkpoint."""
        if part.other is not None or self.others:
            known = part.other is not None and part.other.name in self.others
            own = not self.architectures or architecture.startswith(self.architectures)
            sized = not self.groups or (part.other is not None and part.other.group_size in self.groups)
            fitting = sized and (part.cut or not self.cut)
            return known and part.layer in self.layers and self._reads(dialect) and own and fitting
        weight, group = part.weight.granularity, part.input.granularity if part.input is not None else None
        return (
            part.layer in self.layers
            and self._reads(dialect)
            and (not self.recast or part.recast)
            and (not self.split or part.split)
            and (not self.ragged or part.ragged)
            and (not self.weights or weight.kind in self.weights)
            and (not self.inputs or part.inputs in self.inputs)
            and (not self.blocks or (isinstance(weight, PerBlock) and (weight.rows, weight.columns) in self.blocks))
            and (not self.groups or (isinstance(group, PerGroup) and group.size in self.groups))
            and (not self.architectures or architecture.startswith(self.architectures))
            and (part.stored or not self.stored)
            and (not self.places or part.place in self.places)
        )

    def stops(self, part: Part, dialect: str, architecture: str) -> bool:
        """Whether the row says of this very class that it stops at a part."""
        return self.answer is Answer.REFUSED and bool(self.architectures) and self.fits(part, dialect, architecture)

    def _reads(self, dialect: str) -> bool:
        return not self.formats or is_among(dialect, self.formats)

    @property
    def since(self) -> tuple[str, ...]:
        """The release, or its date, from which on the row holds, where that is known."""
        return (self.versions.since,) if self.versions is not None and self.versions.since else ()


@record
class Part:
    """A scheme in a kind of layer, as a checkpoint has it, and the first module that has it.

    ``other`` is set for a quantization other than FP8: what is known of it stands there. ``stored`` says whether a KV
    cache's scales are, and not only promised; ``cut`` whether the inputs of some layer are no whole number of groups of
    another quantization; ``recast`` that scales of the cache are stored in another type than the model's own; ``place``
    is where the first of these scales lies; ``split`` says that some weight has more than one block, ``ragged`` that
    some is no whole number of blocks.
    """

    layer: Layer
    weight: Quantization
    input: Quantization | None
    example: str
    other: OtherScheme | None = None
    stored: bool = True
    cut: bool = False
    recast: bool = False
    place: Place | None = None
    split: bool = False
    ragged: bool = False

    @property
    def inputs(self) -> str:
        """The input's scheme as rows name it."""
        return str(InputKind.of(self.input))

    @property
    def scheme(self) -> str:
        """The scheme in words.

        >>> from ckptkit.model.granularity import PerChannel, PerToken
        >>> Part(Layer.EXPERT, Quantization(PerChannel()), Quantization(PerToken(), dynamic=True), "x").scheme
        'per-channel weights and dynamic per-token inputs'
        """
        if self.other is not None:
            return str(self.other)
        if self.layer is Layer.KV_CACHE:
            return f"{self.weight} scales"
        inputs = "inputs in high precision" if self.input is None else f"{self.inputs} inputs"
        return f"{self.weight.granularity} weights and {inputs}"


@record
class Judgement:
    """An engine's answer for one part of a checkpoint, and its words.

    ``kernel`` is what computes it on known hardware, ``since`` are the releases, or their dates, before which it was
    not so.
    """

    part: Part | None
    answer: Answer
    words: str = ""
    kernel: str = ""
    since: tuple[str, ...] = ()


#: How a scale is called beside what it belongs to, in models that know no quantizer's names.
_FIRST_EXPERT = ".experts.0."
#: In place of a scheme that is another part's.
_UNSAID = Quantization(PerTensor())


#: Types of models as config.json and safetensors spell them.
_TYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def memory_type(config: Mapping[str, Any]) -> object:
    """The type that a model has in memory, by its config."""
    levels = (text_level(config), config)
    return next((level[key] for level in levels for key in ("dtype", "torch_dtype") if level.get(key)), None)


def parts_of(checkpoint: Checkpoint) -> tuple[Part, ...]:
    """Every scheme in every kind of layer that a checkpoint has, each once.

    Of experts it is the first one's scheme that engines take for all; that others differ is a rule's finding.
    """
    parts: list[Part] = []
    firsts = [kind.first for kind in checkpoint.alike]
    first = any(_FIRST_EXPERT in name for modules in checkpoint.schemes.values() for name in modules)
    for scheme, modules in checkpoint.schemes.items():
        for layer, name in _layers(modules, checkpoint).items():
            if layer is not Layer.EXPERT or not first or any(_FIRST_EXPERT in module for module in modules):
                blocks = scheme.weight.granularity
                alike = [module for module in firsts if module.scheme == scheme and _layer(module) is layer]
                split = isinstance(blocks, PerBlock) and any(map(_is_split, alike))
                ragged = isinstance(blocks, PerBlock) and any(_is_ragged(module, blocks) for module in alike)
                parts.append(Part(layer, scheme.weight, scheme.input, name, split=split, ragged=ragged))
    for other, members in _declared_others(checkpoint).items():
        cut = any(_is_cut(other, name, checkpoint) for name in members)
        for layer, name in _layers(members, checkpoint).items():
            parts.append(Part(layer, _UNSAID, None, name, other, cut=cut))
    cache = checkpoint.kv_cache
    if cache is not None and cache.scheme is not None:
        example = cache.attention[0].module if cache.attention else "the config"
        stored = any(attention.stored() for attention in cache.attention)
        own = _TYPES.get(str(memory_type(checkpoint.container.config)))
        scales = [(kv.module, scale) for kv in cache.attention for scale in (kv.k, kv.v) if scale is not None]
        # A scale on another module than attention is left out by whoever would take its type over.
        recast = own is not None and any(s.dtype != own and names.parent(s.name) == owner for owner, s in scales)
        place = place_of(scales[0][1].name) if scales else None
        quantization = cache.scheme.quantization
        parts.append(Part(Layer.KV_CACHE, quantization, None, example, stored=stored, recast=recast, place=place))
    return tuple(parts)


def _layer(module: QuantizedModule) -> Layer:
    """The kind of a module that is stored in FP8."""
    return Layer.STACK if module.experts is not None else layer_of(module.name)


def _is_split(module: QuantizedModule) -> bool:
    """Whether a module is larger than one block: its scale has more than one value."""
    return module.weight_scale is not None and any(size != 1 for size in module.weight_scale.shape)


def _is_ragged(module: QuantizedModule, blocks: PerBlock) -> bool:
    """Whether a weight is no whole number of blocks."""
    rows, columns = module.weight.shape[-2:]
    return rows % blocks.rows != 0 or columns % blocks.columns != 0


def _declared_others(checkpoint: Checkpoint) -> Mapping[OtherScheme, Sequence[str]]:
    """Scheme other than FP8 -> its modules, and those that the config means to have it although they are in FP8."""
    meant = [(name, scheme) for name, scheme in checkpoint.contradicted.items() if name not in checkpoint.unquantized]
    if not meant:
        return checkpoint.other_schemes
    found = {scheme: list(names) for scheme, names in checkpoint.other_schemes.items()}
    for name, scheme in meant:
        if isinstance(scheme, OtherScheme):
            found.setdefault(scheme, []).append(name)
    return found


def _is_cut(other: OtherScheme, name: str, checkpoint: Checkpoint) -> bool:
    """Whether the inputs of a linear module are no whole number of its scheme's groups."""
    grain = other.weight.granularity if other.weight is not None else None
    module = checkpoint.opaque.get(name)
    weight = module.weight if module is not None else checkpoint.container.tensors.get(f"{name}.weight")
    if not isinstance(grain, PerGroup) or weight is None or len(weight.shape) != 2:
        return False
    elements = module.elements if module is not None else weight.shape[0] * weight.shape[1]
    return bool(elements and elements // weight.shape[0] % grain.size)


def _layers(modules: Iterable[str], checkpoint: Checkpoint) -> dict[Layer, str]:
    """The kinds of layers among modules, each with the first module of it."""
    found: dict[Layer, str] = {}
    seen: set[str] = set()
    for name in modules:
        kind = names.generalise(name)
        if kind not in seen:
            seen.add(kind)
            module = checkpoint.modules.get(name)
            found.setdefault(layer_of(name) if module is None else _layer(module), name)
    return found
