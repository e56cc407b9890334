"""From a census and a config's answers to a Checkpoint: the part of reading that every format shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import Census, Role, is_fp8
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache, QuantizedModule
from ckptkit.model.scheme import KVCacheScheme, Scheme
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef


@dataclass(frozen=True)
class Declaration:
    """What a config says: a scheme for each linear module, and the KV cache.

    ``is_excluded``: whether a module without a scheme is on the skip list, and not only beyond all targets.
    """

    format: str
    dialect: str
    scheme_of: Callable[[str], Scheme | None]
    is_excluded: Callable[[str], bool]
    kv_cache: KVCacheScheme | None
    raw: Mapping[str, Any]
    effective: Mapping[str, Any]
    faults: tuple[Fault, ...] = field(default=())
    records: tuple[str, ...] = ()


def assemble(container: Container, census: Census, declaration: Declaration) -> Checkpoint:
    """Join what is declared with what is stored; every tensor ends in exactly one place."""
    modules: dict[str, QuantizedModule] = {}
    unquantized: dict[str, TensorRef] = {}
    declared_only: list[str] = []
    stored_only: list[TensorRef] = list(census.fp8_elsewhere)
    plain = list(census.plain)
    weight_scales = dict(census.roles[Role.WEIGHT_SCALE])
    input_scales = dict(census.roles[Role.INPUT_SCALE])
    other_names: dict[str, str] | None = None
    for name, weight in census.weights.items():
        quantized = is_fp8(weight.dtype)
        if not quantized and names.is_embedding(name):
            plain.append(weight)
            continue
        scheme = declaration.scheme_of(name)
        if quantized != (scheme is not None) and not (quantized and declaration.is_excluded(name)):
            # Exporters may have named the modules of a multimodal model as they are called in memory.
            other_names = names.in_memory(census.weights, container.config) if other_names is None else other_names
            if name in other_names:
                scheme = declaration.scheme_of(other_names[name])
        if quantized and scheme is not None:
            modules[name] = QuantizedModule(
                name, scheme, weight, weight_scales.pop(name, None), input_scales.pop(name, None)
            )
        elif quantized:
            stored_only.append(weight)
        else:
            unquantized[name] = weight
            plain.append(weight)
            if scheme is not None:
                declared_only.append(name)
    attention_modules = names.attention_modules([*modules, *unquantized])
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
        kv_cache=kv_cache,
        plain=tuple(plain),
        unquantized=unquantized,
        fused_experts=_fused_experts(plain),
        declared_only=tuple(declared_only),
        stored_only=tuple(stored_only),
        orphans=tuple(orphans),
        foreign=tuple(census.foreign),
        raw=declaration.raw,
        effective=declaration.effective,
        records=declaration.records,
        faults=declaration.faults,
    )


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
