"""Reading a ModelOpt config: from an algorithm, or one for each module, to declared schemes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ckptkit.errors import UnsupportedFormat
from ckptkit.formats.base import KV_KINDS, ConfigReader
from ckptkit.formats.modelopt.facts import MIXED, OTHERS, SCHEMES
from ckptkit.formats.modelopt.sections import algorithm
from ckptkit.model import names
from ckptkit.model.granularity import PerGroup, PerTensor
from ckptkit.model.scheme import Declared, KVCacheScheme, OtherScheme, Quantization
from ckptkit.model.select import PatternKind, Selector
from ckptkit.record import record

#: A second name for blocks, which TensorRT-LLM uses.
_ALIASES = {"FP8_BLOCK_SCALES": "FP8_PB_WO"}
_KV_FP8, _KV_NVFP4 = "FP8", "NVFP4"
_KV_WORD = "kv_cache_quant_algo"
#: What declares the KV cache, in either layout.
KV_KEYS = (_KV_WORD, "kv_cache_scheme")
#: Keys that speak of a whole checkpoint, and not of how a module is quantized.
_WHOLE = frozenset(
    {
        *("exclude_modules", "ignore", "kv_cache_quant_algo", "kv_cache_scheme", "quantized_layers"),
        *("config_groups", "producer", "quant_method"),
    }
)


@record
class ModelOptConfig:
    """A config in canonical words. ``default`` is None where each module has its own algorithm, in ``layers``."""

    algorithm: str
    default: Declared | None
    layers: Mapping[str, Declared]
    excluded: tuple[str, ...]
    kv_cache: KVCacheScheme | None
    understood: Mapping[str, Any]

    @property
    def has_others(self) -> bool:
        """Whether some module is in another quantization than FP8."""
        return any(isinstance(scheme, OtherScheme) for scheme in (self.default, *self.layers.values()))

    @cached_property
    def is_excluded(self) -> Callable[[str], bool]:
        """Whether the skip list means a module: by a part of its name, or a shell pattern over all of it."""
        return Selector.of(PatternKind.SUBSTRING.parse(entry) for entry in self.excluded if entry).matches

    @cached_property
    def declared(self) -> Callable[[str], Declared | None]:
        """The scheme that a linear module is given, the skip list aside: its own, or the default."""
        return _by_layer(self.layers) if self.algorithm == MIXED else lambda module: self.default

    @cached_property
    def scheme_of(self) -> Callable[[str], Declared | None]:
        """The scheme of a linear module: None if excluded, else its own, or the default."""
        excluded, declared = self.is_excluded, self.declared
        return lambda module: None if excluded(module) else declared(module)


def _by_layer(layers: Mapping[str, Declared]) -> Callable[[str], Declared | None]:
    """What a list of layers says of a module, as vLLM and SGLang look it up.

    Layers may be listed under the name that engines fuse them to, and all experts of a layer as one, or by some of
    them: engines give all of these one scheme, that of the first.
    """
    experts: dict[str, Declared] = {}
    for name, scheme in layers.items():
        above, inside, _ = name.partition(".experts.")
        if inside:
            experts.setdefault(f"{above}.experts", scheme)

    def find(module: str) -> Declared | None:
        found = layers.get(module)
        if found is None and (fused := names.fused_layer(module)) is not None:
            found = layers.get(fused)
        if found is None and (owner := names.experts_owner(module)) is not None:
            found = layers.get(owner, experts.get(owner))
        return found

    return find


def parse(section: Mapping[str, Any], file: str, label: str) -> ModelOptConfig:
    """Parse a section that was found in ``file``.

    Raises UnsupportedFormat for an algorithm that is not known, and FormatError when the config cannot be understood.
    """
    reader = ConfigReader(file, kinds=MappingProxyType({**KV_KINDS, _KV_WORD: "kv-value"}))
    name = algorithm(section)
    if not name:
        reader.wrong("quant_algo", "an algorithm", section.get("quant_algo"))
    layers: dict[str, Declared] = {}
    if name == MIXED:
        listed = reader.mapping(
            section.get("quantized_layers"), "quantized_layers", required=True, missing="layers-missing"
        )
        for module, value in listed.items():
            own = reader.mapping(value, f"quantized_layers.{module}", required=True)
            if algorithm(own):
                layers[module] = _scheme(own, label)
            elif isinstance(value, dict):
                reader.wrong(f"quantized_layers.{module}.quant_algo", "an algorithm", own.get("quant_algo"))
    # A flat config has the first, a nested section the second: readers of one do not look for the other.
    key = "ignore" if "ignore" in section or "quant_method" in section else "exclude_modules"
    excluded = reader.strings(section.get(key), key, no_list="no-list")
    kv_cache = _kv_cache(reader, section, label)
    reader.raise_faults(label)
    default = None if name == MIXED else _scheme(section, label)
    understood = {
        "quant_algo": name,
        "scheme": str(default) if default else {module: str(scheme) for module, scheme in layers.items()},
        "excluded": excluded,
        "kv_cache": None if kv_cache is None else str(kv_cache),
    }
    return ModelOptConfig(name, default, layers, tuple(excluded), kv_cache, understood)


def _scheme(declared: Mapping[str, Any], label: str) -> Declared:
    """What an algorithm means, and the keys that say more of one that is not FP8 with one scale."""
    name = algorithm(declared)
    if (scheme := SCHEMES.get(_ALIASES.get(name, name))) is not None:
        return scheme
    other = OTHERS.get(name)
    if other is None:
        message = f"{label}: NVIDIA ModelOpt, algorithm {name!r} is not supported"
        raise UnsupportedFormat(message, help=f"ckptkit knows {', '.join((*SCHEMES, *OTHERS))}")
    return replace(
        other,
        weight=_in_groups(other.weight, declared.get("group_size")),
        entry=json.dumps({key: value for key, value in declared.items() if key not in _WHOLE}, sort_keys=True),
    )


def _in_groups(weight: Quantization | None, size: object) -> Quantization | None:
    """The same in groups of a declared size, where weights are scaled in groups."""
    grouped = weight is not None and isinstance(weight.granularity, PerGroup)
    if weight is None or not grouped or not isinstance(size, int) or size < 1:
        return weight
    return replace(weight, granularity=PerGroup(size))


def _kv_cache(reader: ConfigReader, section: Mapping[str, Any], label: str) -> KVCacheScheme | None:
    """The FP8 KV cache: a word in the older layout, an object in the flat one."""
    word, spelt = section.get(_KV_WORD), section.get("kv_cache_scheme")
    if word is not None and not isinstance(word, str):
        reader.wrong(_KV_WORD, "a string", word, what="no-text")
    elif word and word.upper() == _KV_NVFP4:
        raise UnsupportedFormat(f"{label}: a KV cache in {word} is not supported", help="ckptkit knows FP8 KV caches")
    elif word and word.upper() != _KV_FP8:
        reader.wrong(_KV_WORD, "FP8", word)
    body = reader.mapping(spelt, "kv_cache_scheme")
    if body and (body.get("type"), body.get("num_bits")) == ("float", 4):
        raise UnsupportedFormat(
            f"{label}: a KV cache in {_KV_NVFP4} is not supported", help="ckptkit knows FP8 KV caches"
        )
    if body and (body.get("type"), body.get("num_bits")) != ("float", 8):
        key, wanted = ("type", "float") if body.get("type") != "float" else ("num_bits", "8")
        reader.wrong(f"kv_cache_scheme.{key}", wanted, body.get(key))
    return KVCacheScheme(Quantization(PerTensor())) if word or body else None
