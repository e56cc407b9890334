"""How a Quark config declares the KV cache, as edits of config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptkit.edits.changes import ConfigEdit, SetKey
from ckptkit.errors import CkptkitError
from ckptkit.formats.base import Format, WriteOptions
from ckptkit.formats.config_block import Located
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import KVCacheScheme, Quantization
from ckptkit.model.select import glob_or_exact

#: The parts of a native config in which the KV cache is declared.
_KV_KEYS = ("layer_quant_config", "kv_cache_quant_config", "export")


def declare_native(form: Format, located: Located, checkpoint: Checkpoint, cache: KVCache) -> Iterator[ConfigEdit]:
    """The declaration of this cache, with one static value for each tensor: Quark knows no other."""
    stored = (tensor for attention in cache.attention for tensor in (attention.k, attention.v))
    if all(tensor.numel == 1 for tensor in stored if tensor is not None):
        scheme = KVCacheScheme(Quantization(PerTensor()), basis="pre-rope")
        yield from as_written(form, located, replace(checkpoint, kv_cache=replace(cache, scheme=scheme)))


def as_written(form: Format, located: Located, checkpoint: Checkpoint) -> Iterator[ConfigEdit]:
    """The declarations of the KV cache as our own writer spells them for this checkpoint; all else stays."""
    try:
        written = form.write(checkpoint, WriteOptions()).quantization_config or {}
    except CkptkitError:
        return
    block = located.block
    for key in _KV_KEYS:
        old, new = block.get(key) or {}, written.get(key) or {}
        kept = {name: value for name, value in old.items() if name not in new}
        if {**kept, **new} != old:
            value = {**new, **kept} if key != "export" else {**old, "kv_cache_group": new["kv_cache_group"]}
            yield SetKey((*located.way, key), value)


def without(located: Located) -> Iterator[ConfigEdit]:
    """No KV cache: an empty group, and no outputs in the layers that it named, so that q, k and v are alike again."""
    way, block = located.way, located.block
    group = [glob_or_exact(entry) for entry in (block.get("export") or {}).get("kv_cache_group") or ()]
    yield SetKey((*way, "export", "kv_cache_group"), [])
    if block.get("kv_cache_quant_config"):
        yield SetKey((*way, "kv_cache_quant_config"), {})
    for name, spec in (block.get("layer_quant_config") or {}).items():
        matched = any(pattern.text == name or pattern.matches(name) for pattern in group)
        if matched and isinstance(spec, Mapping) and spec.get("output_tensors") is not None:
            yield SetKey((*way, "layer_quant_config", name, "output_tensors"), None)


def declare_custom(located: Located, cache: KVCache | None) -> Iterator[ConfigEdit]:
    """The fp8 mode says it in a word, and names the projections beside it."""
    if cache is not None:
        stored = (tensor for attention in cache.attention for tensor in (attention.k, attention.v))
        if all(tensor.numel == 1 for tensor in stored if tensor is not None):
            yield SetKey((*located.way, "kv_cache_scheme"), "static")
        return
    yield SetKey((*located.way, "kv_cache_scheme"), None)
    if (located.block.get("export") or {}).get("kv_cache_group"):
        yield SetKey((*located.way, "export", "kv_cache_group"), [])
