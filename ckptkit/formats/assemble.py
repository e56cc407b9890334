"""From a census and a config's answers to a Checkpoint: the part of reading that every format shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ckptkit.dtypes import HIGH_PRECISION
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import Census, Role, is_fp8, is_stack, stack_name
from ckptkit.model.checkpoint import (
    AttentionScales,
    Checkpoint,
    KVCache,
    OpaqueModule,
    Part,
    QuantizedModule,
    quantized_module,
)
from ckptkit.model.scheme import Declared, KVCacheScheme, OtherScheme, Scheme
from ckptkit.record import record
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef


@record
class Declaration:
    """What a config says: a scheme for each linear module, FP8 or another, and the KV cache.

    ``is_excluded``: whether a module without a scheme is on the skip list, and not only beyond all targets.
    ``has_others``: whether some module has a scheme other than FP8.
    """

    format: str
    dialect: str
    scheme_of: Callable[[str], Scheme | OtherScheme | None]
    is_excluded: Callable[[str], bool]
    kv_cache: KVCacheScheme | None
    raw: Mapping[str, Any]
    understood: Mapping[str, Any]
    faults: tuple[Fault, ...] = field(default=())
    has_others: bool = False
    provenance: tuple[str, ...] = ()


def assemble(
    container: Container, census: Census, declaration: Declaration, parts: Mapping[str, Part] = MappingProxyType({})
) -> Checkpoint:
    """Join what is declared with what is stored; every tensor ends in exactly one place.

    ``parts`` are the ends of names of what modules in another quantization than FP8 consist of: what comes after the
    module and a dot, or right after the module where the end begins with ``_``.
    """
    asked = _Asked(container, census, declaration)
    scheme_of = declaration.scheme_of
    opaque = _opaque_modules(container, census, asked, parts) if declaration.has_others else {}
    modules: dict[str, QuantizedModule] = {}
    unquantized: dict[str, TensorRef] = {}
    declared_only: list[str] = []
    contradicted: dict[str, Declared] = {}
    stored_only: list[TensorRef] = []
    plain = list(census.plain)
    weight_scales = dict(census.roles[Role.WEIGHT_SCALE])
    input_scales = dict(census.roles[Role.INPUT_SCALE])
    for name, weight in census.weights.items():
        quantized = is_fp8(weight.dtype)
        if not quantized and names.is_embedding(name):
            plain.append(weight)
            continue
        scheme = scheme_of(name)
        if quantized is (scheme is None):  # what :class:`_Asked` does, for a hundred thousand modules
            scheme = asked.other_scheme(name, scheme, quantized=quantized)
        if quantized and isinstance(scheme, Scheme):
            scales = weight_scales.pop(name, None), input_scales.pop(name, None)
            modules[name] = quantized_module((name, scheme, weight, *scales))
        elif quantized:
            stored_only.append(weight)
            if scheme is not None:
                contradicted[name] = scheme
        else:
            unquantized[name] = weight
            plain.append(weight)
            if scheme is not None:
                declared_only.append(name)
                contradicted[name] = scheme
    for weight in census.fp8_elsewhere:
        name = stack_name(weight)
        scale = weight_scales.get(name) if is_stack(weight) else None
        stacked = scale is not None and scale.shape[:1] == weight.shape[:1]
        scheme = asked.scheme_of(name, quantized=True) if stacked else None
        if isinstance(scheme, Scheme):
            scales = weight_scales.pop(name), input_scales.pop(name, None)
            modules[name] = quantized_module((name, scheme, weight, *scales))
        else:
            stored_only.append(weight)
    attention_modules = names.attention_modules([*modules, *opaque, *unquantized])
    attention, leftovers = _attention_scales(census, frozenset(attention_modules))
    orphans = [*weight_scales.values(), *input_scales.values(), *leftovers]
    if declaration.kv_cache is not None:
        for module in attention_modules:
            attention.setdefault(module, AttentionScales(module))
    kv_cache = None
    if attention or declaration.kv_cache is not None:
        ordered = tuple(attention[module] for module in sorted(attention, key=names.natural))
        kv_cache = KVCache(declaration.kv_cache, ordered)
    return Checkpoint(
        container=container,
        format=declaration.format,
        dialect=declaration.dialect,
        modules=modules,
        opaque=opaque,
        kv_cache=kv_cache,
        plain=tuple(plain),
        unquantized=unquantized,
        fused_experts=_fused_experts(plain),
        declared_only=tuple(declared_only),
        contradicted=contradicted,
        stored_only=tuple(stored_only),
        orphans=tuple(orphans),
        foreign=tuple(census.foreign),
        raw=declaration.raw,
        understood=declaration.understood,
        provenance=declaration.provenance,
        faults=declaration.faults,
    )


class _Asked:
    """What a config declares of modules, under their stored names or under those that they have in memory."""

    def __init__(self, container: Container, census: Census, declaration: Declaration) -> None:
        self.container, self.census, self.declaration = container, census, declaration

    @cached_property
    def other_names(self) -> dict[str, str]:
        """Exporters may have named the modules of a multimodal model as they are called in memory."""
        return names.in_memory(self.census.weights, self.container.config)

    def scheme_of(self, name: str, *, quantized: bool) -> Declared | None:
        """The scheme of a module; ``quantized`` says whether its storage looks as if it had one."""
        scheme = self.declaration.scheme_of(name)
        return scheme if quantized is (scheme is not None) else self.other_scheme(name, scheme, quantized=quantized)

    def other_scheme(self, name: str, scheme: Declared | None, *, quantized: bool) -> Declared | None:
        """The scheme of a module whose storage does not look like ``scheme``, which its stored name has."""
        declaration, other = self.declaration, self.other_names.get(name)
        if other is None or (quantized and declaration.is_excluded(name)):
            return scheme
        return declaration.scheme_of(other)


def _opaque_modules(
    container: Container, census: Census, asked: _Asked, parts: Mapping[str, Part]
) -> dict[str, OpaqueModule]:
    """The modules that the config declares in another quantization; their tensors leave the census."""
    stored: dict[str, dict[Part, TensorRef]] = {}
    joined = tuple(end for end in parts if end.startswith("_"))
    for name, tensor in container.tensors.items():
        module, _, last = name.rpartition(".")
        if last not in parts and joined and name.endswith(joined):
            last = next(end for end in joined if name.endswith(end))
            module = name.removesuffix(last)
        part = parts.get(last)
        if part is not None:
            stored.setdefault(module, {})[part] = tensor
    found: dict[str, OpaqueModule] = {}
    for module, tensors in stored.items():
        if joined and module in container.tensors:  # a stack of experts, whose name is the module's
            tensors.setdefault(Part.WEIGHT, container.tensors[module])
        weight = tensors.get(Part.PACKED, tensors.get(Part.WEIGHT))
        if weight is None or weight.dtype in HIGH_PRECISION:
            continue
        scheme = asked.scheme_of(module, quantized=True)
        if isinstance(scheme, OtherScheme) and _fits(scheme, weight):
            found[module] = OpaqueModule(module, scheme, tensors)
    taken = {tensor.name for module in found.values() for tensor in module.parts.values()}
    if taken:
        for kept in (census.weights, *census.roles.values()):
            for module in [module for module, tensor in kept.items() if tensor.name in taken]:
                del kept[module]
        for others in (census.plain, census.foreign, census.fp8_elsewhere):
            others[:] = [tensor for tensor in others if tensor.name not in taken]
    return found


def _fits(scheme: OtherScheme, weight: TensorRef) -> bool:
    """Whether a weight can be of this scheme: FP8 elements only where the scheme has these."""
    return scheme.weight is None or not is_fp8(weight.dtype) or weight.dtype == scheme.weight.dtype


def _attention_scales(census: Census, known: frozenset[str]) -> tuple[dict[str, AttentionScales], list[TensorRef]]:
    """Attention scales by module, from every spelling, and the scales that found their place taken.

    Beside ``self_attn.k_scale`` loaders take ``self_attn.k_proj.k_scale`` and ``self_attn.attn.k_scale``.
    """
    found: dict[str, dict[str, TensorRef]] = {}
    leftovers: list[TensorRef] = []

    def place(module: str, tensor: TensorRef, *keys: str) -> None:
        scales = found.setdefault(module, {})
        if scales.keys() & set(keys):
            leftovers.append(tensor)
        else:
            scales.update(dict.fromkeys(keys, tensor))

    direct = {Role.K_SCALE: ("k",), Role.V_SCALE: ("v",), Role.Q_SCALE: ("q",), Role.PROB_SCALE: ("prob",)}
    for role, keys in {**direct, Role.KV_SCALE: ("k", "v")}.items():
        for module, tensor in census.roles[role].items():
            owner = names.parent(module)
            place(owner if module not in known and owner in known else module, tensor, *keys)
    by_projection: dict[str, tuple[str, ...]] = {last: (role,) for role, last in names.SEPARATE_KV.items()}
    by_projection.update(dict.fromkeys(names.FUSED_QKV, ("k", "v")))
    for module, tensor in census.roles[Role.OUTPUT_SCALE].items():
        last = names.last_part(module)
        if last in by_projection:
            place(names.parent(module), tensor, *by_projection[last])
        else:
            leftovers.append(tensor)
    return {module: AttentionScales(module, **scales) for module, scales in found.items()}, leftovers


def _fused_experts(plain: list[TensorRef]) -> tuple[str, ...]:
    """Modules that hold their experts as 3-D tensors in high precision."""
    owners = {t.module for t in plain if len(t.shape) == 3 and names.last_part(t.module) == "experts"}
    return tuple(sorted(owners, key=names.natural))
