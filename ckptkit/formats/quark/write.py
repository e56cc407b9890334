"""Writing Quark: tensor names and shapes, and the two configs that amd-quark and vLLM read alike."""

from __future__ import annotations

from typing import Any

from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats import drafting
from ckptkit.formats.base import Draft
from ckptkit.formats.dialect import Capabilities
from ckptkit.formats.quark.layers import STATIC_SCALAR, kv_projections, layer_table, output_pattern, refuse
from ckptkit.formats.quark.spec import VERSION, tensor_spec
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales, Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.storage.output import Drop

_DIRECT = {"k": "k_scale", "v": "v_scale", "q": "q_scale"}


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities, *, custom: bool) -> Draft:
    """The whole answer of the writer, in the native layout or in the ``fp8`` custom mode."""
    tensors = list(drafting.module_tensors(checkpoint, shapes, capabilities.scale_dtypes))
    drops = list(drafting.module_drops(checkpoint))
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        targets = _scale_names(checkpoint, attention, custom=custom)
        sources: dict[str, str] = {}
        for role, tensor in attention.stored().items():
            target = targets[role]
            if target in sources.values():
                if tensor.name not in sources:
                    drops.append(Drop(tensor, f"{target} stands for keys and values, which are equal here"))
                continue
            tensors.append(
                drafting.scale(
                    tensor,
                    target,
                    drafting.attention_shape(checkpoint, tensor, shapes),
                    capabilities.scale_dtypes,
                    "KV scales sit on the attention" if custom else "KV scales are outputs of the projections",
                    duplicate=tensor.name in sources,
                )
            )
            sources[tensor.name] = target
    block = _custom_config(checkpoint) if custom else _native_config(checkpoint)
    return Draft(tuple(tensors), tuple(drops), block, _notes(checkpoint))


def _scale_names(checkpoint: Checkpoint, attention: AttentionScales, *, custom: bool) -> dict[str, str]:
    """Where each attention scale goes. A fused projection has one output scale for all that it makes."""
    module = attention.module
    found = {"prob": names.join(module, "prob_output_scale")}
    fused = [names.join(module, last) for last in sorted(names.FUSED_QKV)]
    owner = next((name for name in fused if checkpoint.has_module(name)), None)
    for role, last in names.SEPARATE_KV.items():
        if custom:
            found[role] = names.join(module, _DIRECT[role])
        else:
            found[role] = names.join(owner or names.join(module, last), "output_scale")
    if owner and not custom:
        _refuse_distinct(checkpoint, attention, owner)
    return found


def _refuse_distinct(checkpoint: Checkpoint, attention: AttentionScales, owner: str) -> None:
    stored = {tensor.name: tensor for role, tensor in attention.stored().items() if role in names.SEPARATE_KV}
    first, *others = stored.values() if stored else (None,)
    for other in others:
        if first is None or checkpoint.container.read(first) == checkpoint.container.read(other):
            continue
        fault = Fault(
            "fused-kv-distinct",
            f"keys and values have scales of their own, but {owner} has one output scale for all",
            first.shard,
            first.name,
            expected=f"the same value as {other.name}",
            found="another value",
            help="use mode fp8, which stores the scales apart" if _fits_custom(checkpoint) else None,
        )
        raise ConversionRefused("Quark's native layout cannot hold these attention scales", faults=[fault])


def _fits_custom(checkpoint: Checkpoint) -> bool:
    """Whether the ``fp8`` mode, which knows one per-tensor scheme, can hold the weights."""
    return [scheme.weight.granularity for scheme in checkpoint.schemes] == [PerTensor()]


def _export_block(checkpoint: Checkpoint) -> dict[str, Any]:
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    return {
        "kv_cache_group": [output_pattern(checkpoint, last) for last in kv_projections(checkpoint)] if scheme else [],
        "min_kv_scale": 0.0,
        "pack_method": "reorder",
        "weight_format": "real_quantized",
        "weight_merge_groups": None,
    }


def _custom_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """``ignored_layers`` is what vLLM reads, ``modules_to_not_convert`` what others read; and the explicit null
    block size keeps transformers from taking 128x128 for granted. amd-quark looks at no other key than its own."""
    (scheme,) = checkpoint.schemes
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    skipped = [*drafting.skip_list(checkpoint), *checkpoint.fused_experts]
    kv_name = None
    if kv_scheme is not None:
        kv_name = "dynamic" if kv_scheme.quantization.dynamic else "static"
    block = {
        "quant_method": "fp8",
        "activation_scheme": "static" if scheme.has_static_input else "dynamic",
        "ignored_layers": skipped,
        "modules_to_not_convert": skipped,
        "weight_block_size": None,
        "kv_cache_scheme": kv_name,
        "export": _export_block(checkpoint),
    }
    return {**block, "kv_cache_post_rope": True} if _is_post_rope(checkpoint) else block


def _native_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Every key is present and none null where vLLM iterates: ``{}`` and ``[]`` instead."""
    default = next(iter(checkpoint.schemes), None)
    if default is None:
        refuse("nothing-but-scales", "no module is quantized, and the KV cache alone has no place in a Quark config")
    table = layer_table(checkpoint, default)
    has_kv = checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    has_prob = checkpoint.kv_cache is not None and any(a.prob for a in checkpoint.kv_cache.attention)
    return {
        "quant_method": "quark",
        "version": VERSION,
        "quant_mode": "eager_mode",
        "global_quant_config": table.spec(default),
        "exclude": [*drafting.skip_list(checkpoint), *_fused_experts(checkpoint)],
        "layer_quant_config": table.specs(),
        "layer_type_quant_config": {},
        "kv_cache_quant_config": table.specs(kv_projections(checkpoint)) if has_kv else {},
        "kv_cache_post_rope": _is_post_rope(checkpoint),
        "softmax_quant_spec": tensor_spec(STATIC_SCALAR, scale_type=None) if has_prob else None,
        "algo_config": None,
        "export": _export_block(checkpoint),
    }


def _fused_experts(checkpoint: Checkpoint) -> list[str]:
    """Owners of fused experts: by name for vLLM, and what is below them for readers that split them up."""
    return [entry for owner in checkpoint.fused_experts for entry in (owner, f"{owner}.*")]


def _is_post_rope(checkpoint: Checkpoint) -> bool:
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    return scheme is not None and scheme.basis == "post-rope"


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What the config says that may not be so."""
    if not _is_post_rope(checkpoint):
        return ()
    return (
        "the config says that the KV scales were measured after RoPE (kv_cache_post_rope: true), as tools other "
        "than Quark do; of Quark's own scales that came here by way of another format that is not true",
    )
