"""Scales of the KV cache: left out, or added from another checkpoint of the same model."""

from __future__ import annotations

from dataclasses import replace

from ckptkit.conversion.losses import ALLOW_LOSS
from ckptkit.conversion.prepare.borrow import KV_ROLES, attention_scales
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import Fault, UsageError, plural
from ckptkit.formats.base import Changes
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, KVCache
from ckptkit.storage.output import CONSTANT, Drop, OutputTensor
from ckptkit.storage.payload import TensorRef


def drop(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """No quantized KV cache any more: its scales go, and those of attention operands with them."""
    cache = prepared.checkpoint.kv_cache
    if not request.drop_kv_scales or request.target.weight_dtype is not None:
        return prepared
    if cache is None:
        raise UsageError(f"{prepared.checkpoint.container.label} has no scales of a KV cache to drop")
    stored = dict.fromkeys(tensor for attention in cache.attention for tensor in attention.stored().values())
    told = (
        f"{plural(len(stored), 'scale')} of the KV cache and of attention go: engines keep the cache in high precision"
    )
    first = next(iter(stored), None)
    name = first.name if first is not None else None
    refusal = Fault("kv-scales", told, None, name, "scales that stay", "dropped", ALLOW_LOSS)
    return prepared.then(
        replace(prepared.checkpoint, kv_cache=None),
        {},
        tuple(Drop(tensor, "the KV cache is no longer quantized") for tensor in stored),
        Changes(gives_up=(told,) if stored else ()),
        () if request.allow_lossy or not stored else (refusal,),
    )


def borrow(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Scales of the KV cache that another checkpoint has and this one has not; own ones stay.

    Raises UsageError where the other one has none, or none for this model.
    """
    checkpoint, other = prepared.checkpoint, request.scales
    if other is None or not checkpoint.raw or request.target.weight_dtype is not None:
        return prepared
    borrowed = attention_scales(checkpoint, other)
    known, found = frozenset(checkpoint.attention_modules), borrowed.scales
    gives_inputs = bool(prepared.refusals) or any(t.operation == CONSTANT for t in prepared.made.values())
    if not found and gives_inputs:
        return prepared
    if not found:
        message = f"{other.container.label} has no scales of a KV cache for {checkpoint.container.label}"
        raise UsageError(message, help="give a checkpoint of the same model, with k and v scales")
    cache = checkpoint.kv_cache or KVCache(None, ())
    own = {attention.module: attention for attention in cache.attention}
    scheme = cache.scheme or borrowed.scheme
    refusals = []
    if None not in (cache.scheme, borrowed.scheme) and cache.scheme != borrowed.scheme:
        message = f"the KV cache of {other.container.label} is quantized otherwise"
        refusals.append(Fault("kv-scheme", message, None, None, str(cache.scheme), str(borrowed.scheme)))
    missing = sorted(known - found.keys() - own.keys())
    if missing:
        message = f"{other.container.label} has no scales for {plural(len(missing), 'attention module')}"
        refusals.append(Fault("kv-scales", message, None, missing[0], "k and v scales of every module", "none"))
    made: dict[TensorRef, OutputTensor] = {}
    added = 0
    for module, roles in found.items():
        attention = own.get(module, AttentionScales(module))
        held = attention.stored()
        new = {role: roles[role] for role in KV_ROLES if role in roles and role not in held}
        made.update((stand_in(tensor), tensor) for tensor in new.values())
        added += len(new)
        refs = {**held, **{role: stand_in(tensor) for role, tensor in new.items()}}
        own[module] = AttentionScales(module, refs.get("k"), refs.get("v"), refs.get("q"), refs.get("prob"))
    if not added and gives_inputs:
        return prepared
    if not added:
        help_text = "leave scales_from out, or drop the own ones first (drop_kv_scales, into a folder of its own)"
        raise UsageError(f"{checkpoint.container.label} has scales of the KV cache of its own", help=help_text)
    reason = f"{plural(added, 'scale')} of the KV cache come from {other.container.label}"
    ordered = tuple(own[module] for module in _order(checkpoint, own))
    result = replace(checkpoint, kv_cache=KVCache(scheme, ordered))
    return prepared.then(result, made, (), Changes(reasons=(reason,)), tuple(refusals))


def _order(checkpoint: Checkpoint, own: dict[str, AttentionScales]) -> list[str]:
    """Attention modules in natural order, and those that no projection tells after them."""
    return [*(name for name in checkpoint.attention_modules if name in own)] + [
        name for name in own if name not in checkpoint.attention_modules
    ]
