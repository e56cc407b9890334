"""What a target has no place for goes where the user allows it: attention scales of some roles, FP8 output heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.conversion.adapt import choose
from ckptkit.conversion.prepare.dequantize import TORCH_NAMES, dequantized
from ckptkit.conversion.prepare.prepared import Prepared
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import plural
from ckptkit.formats.base import Changes
from ckptkit.formats.dialect import Capabilities
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales
from ckptkit.storage.output import Drop

#: The kind of losses that can be taken by giving attention scales up.
_ROLE = "attention-role"
#: The type that a head gets where config.json does not say what the model is in.
_USUAL = "BF16"
_DTYPES = {word: dtype for dtype, word in TORCH_NAMES.items()}


def heads(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Dequantize FP8 output heads for a target without such, where the user allows it."""
    if not request.allow_lossy or request.target.weight_dtype is not None or holds_heads(request):
        return prepared
    return _without_fp8_heads(prepared) if any(map(names.is_head, prepared.checkpoint.modules)) else prepared


def holds_heads(request: ConversionRequest) -> bool:
    """Whether some dialect of the target has quantized output heads."""
    return any(capabilities.quantized_lm_head for _, capabilities in request.dialects)


def roles(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Drop attention scales of some roles, where these are all that keeps the target from holding the checkpoint."""
    if not request.allow_lossy or request.target.weight_dtype is not None or prepared.refusals:
        return prepared
    adapted = choose(prepared.checkpoint, request)
    capabilities = adapted.dialect.capabilities
    if {fault.kind for fault in adapted.losses} != {_ROLE} or capabilities is None:
        return prepared
    return _without_roles(prepared, capabilities)


def _without_fp8_heads(prepared: Prepared) -> Prepared:
    checkpoint = prepared.checkpoint
    declared = str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype"))
    dtype = _DTYPES.get(declared.removeprefix("torch."), _USUAL)
    return dequantized(prepared, tuple(name for name in checkpoint.modules if names.is_head(name)), dtype)


def _without_roles(prepared: Prepared, capabilities: Capabilities) -> Prepared:
    """The checkpoint without attention scales of roles that the target does not name."""
    cache = prepared.checkpoint.kv_cache
    if cache is None:
        return prepared
    kept, drops, gone = list[AttentionScales](), dict[str, Drop](), dict[str, int]()
    for attention in cache.attention:
        stored = attention.stored()
        lost = {role: tensor for role, tensor in stored.items() if role not in capabilities.kv_roles}
        left = {tensor.name for role, tensor in stored.items() if role not in lost}
        for role, tensor in lost.items():
            gone[role] = gone.get(role, 0) + 1
            if tensor.name not in left:
                drops[tensor.name] = Drop(tensor, "the target has no place for it")
        kept.append(AttentionScales(attention.module, **{r: t for r, t in stored.items() if r not in lost}))
    checkpoint = replace(prepared.checkpoint, kv_cache=replace(cache, attention=tuple(kept)))
    return prepared.then(checkpoint, {}, tuple(drops.values()), Changes(gives_up=tuple(_given_up(gone))))


def _given_up(gone: dict[str, int]) -> Iterator[str]:
    for role, count in gone.items():
        yield f"{role} scales of {plural(count, 'attention module')} go: engines then take 1.0, or compute in more bits"
