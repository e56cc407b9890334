"""The canonical checkpoint: quantized modules, KV-cache scales, and everything else, as references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import Enum
from functools import cached_property, partial
from typing import Any, NamedTuple

from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.model.scheme import Declared, KVCacheScheme, OtherScheme, Scheme
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef


class QuantizedModule(NamedTuple):
    """A linear module stored in FP8. ``w = weight * scale``: every scale is a multiplier.

    ``weight`` is [N, K], or [E, N, K] where the experts of a layer are one stack. ``weight_scale`` is None when the
    file lacks it, which a rule reports and every conversion refuses. ``input_scale`` is set only for static
    activations.
    """

    name: str
    scheme: Scheme
    weight: TensorRef
    weight_scale: TensorRef | None
    input_scale: TensorRef | None = None

    @property
    def scales(self) -> tuple[TensorRef, ...]:
        """Its stored scales, that of the weight first."""
        return tuple(scale for scale in (self.weight_scale, self.input_scale) if scale is not None)

    @property
    def experts(self) -> int | None:
        """How many experts the weight stacks; None for a plain linear module."""
        return self.weight.shape[0] if len(self.weight.shape) == 3 else None


#: A QuantizedModule from the tuple of its fields: half the time of a call to the class, as for a TensorRef.
quantized_module: Callable[[tuple[str, Scheme, TensorRef, TensorRef | None, TensorRef | None]], QuantizedModule] = (
    partial(tuple.__new__, QuantizedModule)
)


class Alike(NamedTuple):
    """FP8 modules that differ in nothing that headers and config say but the numbers in their names.

    What is true of the shapes, types and scheme of one is true of all. ``name`` has ``*`` for each number.
    """

    name: str
    modules: tuple[QuantizedModule, ...]

    @property
    def first(self) -> QuantizedModule:
        """One that stands for all."""
        return self.modules[0]


class Part(str, Enum):
    """What a tensor is to a module that is quantized in another way than FP8."""

    WEIGHT = "weight"
    PACKED = "packed weight"
    SCALE = "weight scale"
    SECOND_SCALE = "scale of the weight scales"
    ZERO_POINT = "zero point"
    ORDER = "order of the columns"
    SHAPE = "shape of the unpacked weight"
    INPUT_SCALE = "input scale"
    SECOND_INPUT_SCALE = "scale of the input scales"


class OpaqueModule(NamedTuple):
    """A linear module, or a stack of experts, in a quantization other than FP8: known by its parts, carried as it is.

    A part that the scheme needs and the file lacks is missing from ``parts``. A bias is never quantized: it is one of
    the checkpoint's plain tensors.
    """

    name: str
    scheme: OtherScheme
    parts: Mapping[Part, TensorRef]

    @property
    def weight(self) -> TensorRef | None:
        """The stored weight, packed or not."""
        return self.parts.get(Part.PACKED, self.parts.get(Part.WEIGHT))

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(tensor.nbytes for tensor in self.parts.values())

    @property
    def elements(self) -> int | None:
        """Elements of the weight once it is unpacked; None where the width of one is not known."""
        weight, bits = self.weight, self.scheme.bits
        return weight.nbytes * 8 // bits if weight is not None and bits else None


@record
class AttentionScales:
    """The static scales of one attention module's cache (k, v) and operands (q, prob).

    Where one stored tensor stands for k and v (a fused qkv projection), both refer to it.
    """

    module: str
    k: TensorRef | None = None
    v: TensorRef | None = None
    q: TensorRef | None = None
    prob: TensorRef | None = None

    def stored(self) -> dict[str, TensorRef]:
        """The scales that exist, by role."""
        roles = {"k": self.k, "v": self.v, "q": self.q, "prob": self.prob}
        return {role: tensor for role, tensor in roles.items() if tensor is not None}


@record
class KVCache:
    """The KV cache: the declared scheme (None when scales are stored but nothing declares them)."""

    scheme: KVCacheScheme | None
    attention: tuple[AttentionScales, ...]


@record(repr=False)
class Checkpoint(Shown):
    """What a checkpoint means, whatever its format.

    Every stored tensor is in exactly one place:

    * ``modules``: linear modules that are stored in FP8 and declared so, in file order;
    * ``opaque``: linear modules in another quantization that the config declares, by name;
    * ``unquantized``: linear modules stored in high precision, by name;
    * ``declared_only``: those of ``unquantized`` that the config calls quantized all the same;
    * ``stored_only``: FP8 weights that the config does not call quantized, or not so;
    * ``fused_experts``: modules whose experts are 3-D tensors in high precision;
    * ``orphans``: scales that belong to no quantized module; ``foreign``: quantizer tensors that the format
      has no role for;
    * ``plain``: every other tensor, carried through as it is;
    * ``contradicted``: the schemes that the config has for weights of linear modules that are stored otherwise, in
      high precision or in FP8;
    * ``raw``: the quantization config as written; ``understood``: as understood, with defaults and older
      spellings made explicit; ``provenance``: entries of it that say how the checkpoint was made and not what it
      means, and that no other config has a place for.
    """

    container: Container
    format: str
    dialect: str
    modules: Mapping[str, QuantizedModule]
    kv_cache: KVCache | None
    plain: tuple[TensorRef, ...]
    unquantized: Mapping[str, TensorRef]
    fused_experts: tuple[str, ...]
    declared_only: tuple[str, ...]
    stored_only: tuple[TensorRef, ...]
    orphans: tuple[TensorRef, ...]
    foreign: tuple[TensorRef, ...]
    raw: Mapping[str, Any]
    understood: Mapping[str, Any]
    provenance: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    opaque: Mapping[str, OpaqueModule] = field(default_factory=dict)
    contradicted: Mapping[str, Declared] = field(default_factory=dict)

    def _look(self) -> Look:
        facts = [f"{self.format} ({self.dialect})", plural(len(self.modules), "quantized module")]
        if self.opaque:
            facts.append(f"{len(self.opaque):,} in another quantization")
        if self.kv_cache is not None:
            facts.append(f"KV cache of {plural(len(self.kv_cache.attention), 'attention module')}")
        rows = (
            (kind.name, len(kind.modules), kind.first.weight.dtype, str(list(kind.first.weight.shape)), str(scheme))
            for kind in self.alike
            for scheme in (kind.first.scheme,)
        )
        return Look(
            self.container.label, facts, ("modules", "count", "dtype", "shape", "scheme"), rows, len(self.alike)
        )

    def to_json(self) -> dict[str, Any]:
        """The checkpoint in canonical words, as described by ``schemas/manifest.json``."""
        from ckptkit.model.manifest import manifest

        return manifest(self)

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole config.json."""
        return self.container.config

    @cached_property
    def alike(self) -> tuple[Alike, ...]:
        """The modules by kind, in the file order of the first of each: a few, however many layers and experts."""
        found: dict[tuple[object, ...], tuple[str, list[QuantizedModule]]] = {}
        numbers: dict[Scheme, int] = {}
        scheme, number = None, 0
        for module in self.modules.values():
            full_name, own_scheme, weight, scale, inputs = module
            if own_scheme is not scheme:  # modules share their schemes, and hashing one takes longer than all else
                scheme = own_scheme
                number = numbers.setdefault(scheme, len(numbers))
            name = names.generalise(full_name)
            key = (name, number, weight[1:3], scale and scale[1:3], inputs and inputs[1:3])
            kind = found.get(key)
            if kind is None:
                found[key] = name, [module]
            else:
                kind[1].append(module)
        return tuple(Alike(name, tuple(modules)) for name, modules in found.values())

    @cached_property
    def schemes(self) -> Mapping[Scheme, tuple[str, ...]]:
        """Scheme -> the modules that use it, the most used first."""
        grouped: dict[Scheme, list[str]] = {}
        last, members = None, list[str]()
        for module in self.modules.values():
            if module.scheme is not last:  # hashing a scheme takes longer than all else here
                last, members = module.scheme, grouped.setdefault(module.scheme, [])
            members.append(module.name)
        ordered = sorted(grouped.items(), key=lambda item: -len(item[1]))
        return {scheme: tuple(members) for scheme, members in ordered}

    @cached_property
    def other_schemes(self) -> Mapping[OtherScheme, tuple[str, ...]]:
        """Scheme other than FP8 -> the modules that use it, in file order."""
        grouped: dict[OtherScheme, list[str]] = {}
        for module in self.opaque.values():
            grouped.setdefault(module.scheme, []).append(module.name)
        return {scheme: tuple(members) for scheme, members in grouped.items()}

    @cached_property
    def all_schemes(self) -> Mapping[Scheme | OtherScheme, tuple[str, ...]]:
        """Every scheme, FP8 first -> the modules that use it."""
        found: dict[Scheme | OtherScheme, tuple[str, ...]] = {}
        found.update(self.schemes.items())
        found.update(self.other_schemes.items())
        return found

    @cached_property
    def linear_names(self) -> tuple[str, ...]:
        """Every linear module in file order: in FP8, in another quantization, in high precision."""
        return (*self.modules, *self.opaque, *self.unquantized)

    @cached_property
    def attention_modules(self) -> tuple[str, ...]:
        """Attention modules, known by their projections."""
        return names.attention_modules(self.linear_names)

    def has_module(self, name: str) -> bool:
        """Whether a linear module of this name is stored, quantized or not."""
        return name in self.modules or name in self.unquantized or name in self.opaque

    @property
    def linear_modules(self) -> tuple[str, ...]:
        """Every linear module, quantized or not, in natural order."""
        return tuple(sorted(self.linear_names, key=names.natural))

    @property
    def tied_head(self) -> bool:
        """Whether the output head is the embedding and hence not stored."""
        return not self.has_head and any(names.is_embedding(tensor.module) for tensor in self.plain)

    @property
    def has_head(self) -> bool:
        """Whether an output head is stored, quantized or not."""
        if self.has_module(names.LM_HEAD):
            return True
        return any(names.is_head(module) for module in self.linear_names)

    def opaque_tensors(self) -> tuple[TensorRef, ...]:
        """Every part of the modules in another quantization than FP8."""
        return tuple(tensor for module in self.opaque.values() for tensor in module.parts.values())

    def scale_tensors(self) -> tuple[TensorRef, ...]:
        """Every scale of a quantized module or attention module, each once, for value checks."""
        modules = self.modules.values()
        own = [scale for m in modules for scale in (m.weight_scale, m.input_scale) if scale is not None]
        return (*own, *self.attention_tensors())

    def scales_in(self, dtypes: Callable[[str], bool]) -> Iterator[TensorRef]:
        """The scales of :meth:`scale_tensors` that have such a dtype; modules that are alike are asked once."""
        for kind in self.alike:
            if any(dtypes(scale.dtype) for scale in kind.first.scales):
                yield from (scale for module in kind.modules for scale in module.scales if dtypes(scale.dtype))
        yield from (scale for scale in self.attention_tensors() if dtypes(scale.dtype))

    def attention_tensors(self) -> tuple[TensorRef, ...]:
        """The scales of attention modules, each once: one may stand for keys and values."""
        attention = self.kv_cache.attention if self.kv_cache is not None else ()
        found = {scale.name: scale for module in attention for scale in module.stored().values()}
        return tuple(found.values())
