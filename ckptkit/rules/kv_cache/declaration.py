"""Declaring a KV cache, or none, in the words of the checkpoint's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import CkptkitError
from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import KVCacheScheme, Quantization
from ckptkit.model.select import glob_or_exact
from ckptkit.rules.config.block import block_path

#: The parts of a native config in which the KV cache is declared.
KV_KEYS = ("layer_quant_config", "kv_cache_quant_config", "export")


def correct_declaration(context: Context, finding: Finding) -> Iterator[Edit]:
    """Declare no FP8 KV cache where no scale is stored for one, and the usual one where scales are stored.

    Without a scale the cache would run at 1.0; whether it was meant to be calibrated nobody but the exporter knows.
    """
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    if cache is None:
        return
    if any(attention.stored() for attention in cache.attention):
        if finding.code == "CK912":
            yield from declared(context, cache)
    elif context.method == "quark":
        yield from without_kv(context)
    else:
        yield SetKey((*block_path(context), "kv_cache_scheme"), None)
        if (context.block.get("export") or {}).get("kv_cache_group"):
            yield SetKey((*block_path(context), "export", "kv_cache_group"), [])


def declared(context: Context, cache: KVCache) -> Iterator[Edit]:
    """The declaration that fits the stored scales, in the words of the checkpoint's format."""
    if context.checkpoint is None or any(a.k is None or a.v is None for a in cache.attention):
        return
    scalar = all(tensor.numel == 1 for a in cache.attention for tensor in (a.k, a.v) if tensor is not None)
    if context.method == "compressed-tensors":
        strategy = "tensor" if scalar else "attn_head"
        args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": False}
        yield SetKey((*block_path(context), "kv_cache_scheme"), args)
    elif scalar and context.method == "quark":
        scheme = KVCacheScheme(Quantization(PerTensor()), basis="pre-rope")
        yield from written_kv(context, replace(context.checkpoint, kv_cache=replace(cache, scheme=scheme)))
    elif scalar:
        yield SetKey((*block_path(context), "kv_cache_scheme"), "static")


def written_kv(context: Context, checkpoint: Checkpoint) -> Iterator[Edit]:
    """The declarations of the KV cache as our own writer spells them for this checkpoint; all else stays."""
    if context.format is None:
        return
    try:
        written = context.format.write(checkpoint, WriteOptions()).quantization_config or {}
    except CkptkitError:
        return
    path, block = block_path(context), context.block
    for key in KV_KEYS:
        old, new = block.get(key) or {}, written.get(key) or {}
        kept = {name: value for name, value in old.items() if name not in new}
        if {**kept, **new} != old:
            yield SetKey(
                (*path, key), {**new, **kept} if key != "export" else {**old, "kv_cache_group": new["kv_cache_group"]}
            )


def without_kv(context: Context) -> Iterator[Edit]:
    """No KV cache: an empty group, and no outputs in the layers that it named, so that q, k and v are alike again."""
    path, block = block_path(context), context.block
    group = [glob_or_exact(entry) for entry in (block.get("export") or {}).get("kv_cache_group") or ()]
    yield SetKey((*path, "export", "kv_cache_group"), [])
    if block.get("kv_cache_quant_config"):
        yield SetKey((*path, "kv_cache_quant_config"), {})
    for name, spec in (block.get("layer_quant_config") or {}).items():
        matched = any(pattern.text == name or pattern.matches(name) for pattern in group)
        if matched and isinstance(spec, Mapping) and spec.get("output_tensors") is not None:
            yield SetKey((*path, "layer_quant_config", name, "output_tensors"), None)
