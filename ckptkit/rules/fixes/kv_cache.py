"""Fixes of KV-cache scales and their declaration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Duplicate, Edit, Rename, Reshape, SetKey
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales, KVCache
from ckptkit.model.granularity import PerHead, PerTensor
from ckptkit.model.scheme import KVCacheScheme, Quantization
from ckptkit.rules.fixes.config import block_path
from ckptkit.rules.fixes.quark import without_kv, written_kv

_OTHER = {"k": "v", "v": "k"}


@fix("unsafe", "CK901", "CK912")
def correct_declaration(context: Context, finding: Finding) -> Iterator[Edit]:
    """Declare no FP8 KV cache where no scale is stored for one, and the usual one where scales are stored.

    Without a scale the cache would run at 1.0; whether it was meant to be calibrated nobody but the exporter knows.
    """
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    if cache is None:
        return
    if any(attention.stored() for attention in cache.attention):
        if finding.code == "CK912":
            yield from _declared(context, cache)
    elif context.method == "quark":
        yield from without_kv(context)
    else:
        yield SetKey((*block_path(context), "kv_cache_scheme"), None)
        if (context.block.get("export") or {}).get("kv_cache_group"):
            yield SetKey((*block_path(context), "export", "kv_cache_group"), [])


@fix("safe", "CK902")
def declare_scheme(context: Context, finding: Finding) -> Iterator[Edit]:
    """Declare the KV cache that the stored scales were made for."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    if cache is not None:
        yield from _declared(context, cache)


def _declared(context: Context, cache: KVCache) -> Iterator[Edit]:
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


@fix("safe", "CK903")
def rename_kv_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that the format's loaders map; one scale that stood for k and v becomes two."""
    attention = _attention(context, finding)
    if attention is None or not finding.expected or not finding.tensor or not finding.file:
        return
    module, tensor = attention.module, finding.tensor
    if attention.k is not None and attention.k == attention.v and finding.expected.endswith(("k_scale", "v_scale")):
        yield Duplicate(finding.file, tensor, names.join(module, "v_scale"))
        yield Rename(finding.file, tensor, names.join(module, "k_scale"))
    else:
        yield Rename(finding.file, tensor, finding.expected)


@fix("unsafe", "CK904")
def copy_to_partner(context: Context, finding: Finding) -> Iterator[Edit]:
    """Use one scale for keys and values, as vLLM does with k alone. Whether it fits the other was never measured."""
    attention = _attention(context, finding)
    if attention is None or not finding.tensor or not finding.file:
        return
    have = "k" if attention.k is not None else "v"
    ending = finding.tensor.removeprefix(f"{attention.module}.")
    partner = ending.replace(f"{have}_proj", f"{_OTHER[have]}_proj").replace(f"{have}_scale", f"{_OTHER[have]}_scale")
    if partner != ending:
        yield Duplicate(finding.file, finding.tensor, names.join(attention.module, partner))


@fix("safe", "CK907")
def reshape_kv_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scales of heads the rank that the format stores, where the config declares one for each head."""
    tensor = context.container.tensors.get(finding.tensor or "")
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    granularity = cache.scheme.quantization.granularity if cache and cache.scheme else None
    if tensor is None or context.format is None or not isinstance(granularity, PerHead):
        return
    wanted = context.format.scale_shapes(granularity, (tensor.numel,))[0]
    if wanted != tensor.shape and tensor.numel == context.dimensions.kv_heads:
        yield Reshape(tensor.shard, tensor.name, tensor.shape, wanted)


def _attention(context: Context, finding: Finding) -> AttentionScales | None:
    """The attention module whose scale a finding is about."""
    cache = context.checkpoint.kv_cache if context.checkpoint else None
    for attention in cache.attention if cache else ():
        if any(tensor.name == finding.tensor for tensor in attention.stored().values()):
            return attention
    return None
